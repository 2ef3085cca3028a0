"""The report: one page that loads nothing, holds everything, and runs nothing that a model has written."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser

import pytest

from ppl_scaling.diagnostics import diagnose, write_report
from ppl_scaling.diagnostics.report import for_script, render_report
from ppl_scaling.inference import BestOfN
from tests.diagnostics.filters import EVIL, evil_run, filter_run
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

ELEMENTS = set(
    "html head meta title style body header main footer section h1 h2 h3 p div span strong br table thead tbody tr th td ul "
    "ol li details summary figure img figcaption svg rect circle path text script noscript".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name class scope colspan width height viewbox rx aria-hidden aria-label role id x y r "
    "cx cy d stroke-width src alt type open".split()
)
SHOWN = re.sub("[\ud800\0\x1b]", "\ufffd", EVIL)  # what HTML can hold of it


class Page(HTMLParser):
    """Everything a page has, by a parser that was not told what to expect."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.sources, self.inside = set(), set(), [], {}
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self._open.append(tag)

    def handle_endtag(self, tag):
        self._open.pop() if self._open and self._open[-1] == tag else None

    def handle_data(self, data):
        self.inside.setdefault(self._open[-1] if self._open else "", []).append(data)


@cache
def evil_page():
    return render_report(evil_run())


def test_nothing_of_a_model_becomes_markup():
    text = evil_page()
    page = Page(text)
    assert page.elements <= ELEMENTS and page.attributes <= ATTRIBUTES
    assert page.sources and all(re.match(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+$", one) for one in page.sources)
    assert any(SHOWN in one for one in page.inside["p"] + page.inside["td"])
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    assert text.encode("utf-8") and not re.search("[\0\x1b\ud800]", text)


def test_the_policy_allows_the_page_itself_and_nothing_else():
    text = evil_page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(one.split(" ", 1) for one in policy.replace("&#39;", "'").split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:" and "unsafe" not in policy
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_data_for_the_script_comes_back_and_cannot_end_its_element():
    written = for_script({"a": EVIL, "b": [1, None]})
    assert json.loads(written) == {"a": SHOWN, "b": [1, None]}
    assert written.isascii() and not set("<>&'") & set(written)
    page = Page(evil_page())
    data = json.loads(next(one for one in page.inside["script"] if one.startswith("{")))
    assert any(EVIL.split("\n")[0] in one for one in data["texts"]) and data["along"] == "step"


@pytest.mark.parametrize("num_particles", [1, 4, 256])
def test_reports_of_filters(num_particles, tmp_path):
    result = filter_run(num_particles)
    text = write_report(result, tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["report.html"]
    page = Page(text)
    assert len(page.sources) == 4 and "Which letter?" in page.inside["p"]
    for check in diagnose(result).checks:
        assert check.name in page.inside["td"] and check.advice in [*page.inside.get("strong", []), ""]
    for answer in result.answers:
        assert f"{answer.probability:.3f}" in page.inside["td"]
    assert text == render_report(result) and len(text) < 1_500_000


def test_reports_of_replicates_and_of_other_kinds(tmp_path):
    runs = [filter_run(4, seed) for seed in range(2)]
    page = Page(write_report(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [one[:11] for one in page.inside["h2"] if one.startswith("Rep")] == ["Replicate 1", "Replicate 2"]
    result = BestOfN(early_ends(LIKELIHOODS["bernoulli"]), num_completions=3, answer_format=LastLetter()).run("?", seed=1)
    page = Page(render_report(result))
    assert "Genealogy" not in page.inside["h2"] and "Trajectories" in page.inside["h2"]
    for wrong in ([1], "text"):
        with pytest.raises(TypeError, match="expected"):
            render_report(wrong)
    with pytest.raises(ValueError, match="at least one result"):
        render_report([])
    with pytest.raises(ValueError, match="cannot write"):
        write_report(runs[0], tmp_path)


DRIVER = """
const box = document.querySelector(".genealogy"), svg = box.querySelector("svg"), panel = box.querySelector(".panel");
const data = JSON.parse(box.querySelector("script").textContent), seen = [];
const read = (what) => seen.push([what, panel.querySelector("h3").textContent, panel.querySelector(".here").textContent,
  panel.classList.contains("held"), document.activeElement.getAttribute("aria-label")]);
const press = (key) => { (document.activeElement.closest("svg") ? document.activeElement : svg).dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); read(key); };
const point = (type, x, y) => { const frame = svg.getBoundingClientRect();
  svg.dispatchEvent(new MouseEvent(type, { clientX: frame.left + x, clientY: frame.top + y, bubbles: true })); };
data.places.forEach(([x, y]) => { point("pointermove", x, y); read("point"); });
svg.querySelector("[tabindex='0']").focus();
["Home", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "End"].forEach(press);
point("click", ...data.places[0]); read("click");
point("pointermove", ...data.places[data.places.length - 1]); read("held");
press("Escape");
const out = document.createElement("output"); out.textContent = JSON.stringify(seen); document.body.append(out);
"""


@pytest.fixture
def chromium(tmp_path):
    """Load a page in headless Chromium and give its document as it is then."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium: `apt-get install chromium`")

    def load(path):
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [program, *options, "--window-size=1200,900", "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
        for _ in range(3):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
            if ran.returncode >= 0:  # a browser that dies by a signal says nothing about the page
                ran.check_returncode()
                return ran.stdout
        pytest.skip(f"Chromium dies by signal {-ran.returncode}")

    return load


def test_in_a_browser_only_our_script_runs(chromium, tmp_path):
    document = chromium(write_report(evil_run(), tmp_path / "evil.html"))
    page = Page(document)
    assert "caught" not in page.inside["title"][0][:10] and page.elements <= ELEMENTS
    assert any(one.startswith("Step ") for one in page.inside["h3"])  # so ours has run, under the policy
    assert any("<img src=x onerror=" in one for one in page.inside["li"])


def test_in_a_browser_every_step_can_be_read_by_pointing_and_by_keys(chromium, tmp_path):
    result = filter_run(16)
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", render_report(result))
    path = tmp_path / "driven.html"
    path.write_text(text.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8")
    (written,) = Page(chromium(path)).inside["output"]
    nodes = json.loads(next(one for one in Page(text).inside["script"] if one.startswith("{")))
    seen = json.loads(written)
    for node, (what, title, here, held, _) in zip(nodes["nodes"], seen, strict=False):
        assert (what, title, held) == ("point", f"Step {node[0]}", False)
        assert here == nodes["texts"][node[7]] or not nodes["texts"][node[7]]
    keys = {what: rest for what, *rest in seen[len(nodes["nodes"]) :]}
    steps = {what: rest[0] for what, rest in keys.items()}
    assert steps["Home"] == steps["ArrowLeft"] == steps["ArrowUp"] == "Step 1" and steps["ArrowRight"] == "Step 2"
    assert steps["End"] == f"Step {result.num_steps}" and keys["End"][3].startswith(f"{steps['End']}: ")
    assert keys["click"][0] == keys["held"][0] == "Step 1" and keys["click"][2] and not keys["Escape"][2]
