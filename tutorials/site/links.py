"""Checks every link within the built site, anchors included: `python tutorials/site/links.py build/docs`."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.anchors = set(), {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.targets |= {values[name] for name in ("href", "src") if values.get(name)}


def main(folder):
    root = Path(folder).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    broken, checked = [], 0
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if parts.netloc and target.endswith((".js", ".css", ".woff", ".woff2")):
                    broken.append(f"{path.relative_to(root)} loads {target} from elsewhere")
                continue
            checked += 1
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            goal = goal / "index.html" if goal.is_dir() else goal
            if not goal.exists() or (goal in pages and unquote(parts.fragment) not in pages[goal].anchors):
                broken.append(f"{path.relative_to(root)} links to {target}, which is not there")
    print(f"{len(pages)} pages, {checked} links within the site, {len(broken)} broken")
    if broken or not pages:
        sys.exit("\n".join(sorted(broken)[:50]))


if __name__ == "__main__":
    main(*sys.argv[1:])
