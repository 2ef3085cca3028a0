"""Files that commands read."""

import json


def write_lines(path, rows):
    """Write rows as JSON lines, and give the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
