"""Runs tutorials and writes each as a notebook with what it prints and shows, beside its source.

    python tutorials/site/render.py            # all
    python tutorials/site/render.py 01 08      # those whose names begin so

What would differ between two runs of the same thing is taken out, so that a changed notebook means a changed finding.
"""

import argparse
import base64
import io
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1]
LARGEST = 400_000  # bytes
RUNTIME = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}
# A progress bar of rich asks for a package that shows it better; its warning names a folder of this machine.
RUNTIME["PYTHONWARNINGS"] = "ignore:install"
MATPLOTLIBRC = "figure.dpi: 90\nsavefig.dpi: figure\n"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def render(source):
    """Run a tutorial in a folder of its own and write its notebook."""
    notebook = jupytext.read(source, fmt="py:percent")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for beside in FOLDER.iterdir():
            if beside.is_file() and beside.suffix not in {".py", ".ipynb"}:
                shutil.copy(beside, folder)
        (folder / "matplotlibrc").write_text(MATPLOTLIBRC)
        env = {key: value for key, value in os.environ.items() if key not in {"CI", "MPLBACKEND"}}
        client = NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
            startup_timeout=300,
        )
        client.execute(env=env | RUNTIME | {"MATPLOTLIBRC": str(folder / "matplotlibrc")})
    clean(notebook)
    text = nbformat.writes(notebook, version=4) + "\n"
    if len(text.encode()) > LARGEST:
        raise ValueError(f"expected a notebook of at most {LARGEST} bytes, {source.name} makes {len(text.encode())}")
    source.with_suffix(".ipynb").write_text(text, encoding="utf-8")
    return len(text)


def clean(notebook):
    """Keep what says something: sources, what was printed, and pictures."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = ADDRESS.sub("", data["text/plain"])
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])


def smaller(picture):
    """Write a picture with a palette, without its dates and programs."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    image.quantize(colors=256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="how the names of tutorials begin; default: all")
    names = parser.parse_args().names
    sources = [one for one in sorted(FOLDER.glob("[0-9]*.py")) if not names or one.name.startswith(tuple(names))]
    if not sources:
        sys.exit(f"expected tutorials that begin with {', '.join(names)}, found none in {FOLDER}")
    for source in sources:
        begin = time.perf_counter()
        size = render(source)
        print(f"{source.stem}: {size / 1000:.0f} kB, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
