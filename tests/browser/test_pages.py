"""Both reports, as files and in a browser: numbers, layout, keyboard, accessibility and network.

`make browser` installs Chromium from Debian. Without Chromium, the tests in a browser are skipped,
unless BROWSER_TESTS=required is set, as in continuous integration.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)
from circuitshift.pipeline.words import GLOBAL_TERMS
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = files("axe_playwright_python") / "axe.min.js"
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SPEC = SimulationSpec(
    n_treated=5, n_control=5, n_reference=4, n_volumes=70, share_missing=0.2, share_out_of_view=0.2
)
STUDY = "[model]\nsymptom = 'madrs'\n[tests]\nn_permutations = 100\n"
A4_PX = 718  # width of a printed A4 page within margins of 10 mm


def run(*words):
    """Run the command as a process of its own, since it must set its threads before numpy loads."""
    command = Path(sys.executable).with_name("circuitshift")
    return subprocess.run([command, *map(str, words)], capture_output=True).returncode


def add_scores(folder):
    """Add a symptom score at both visits, which is missing in one patient."""
    path = folder / "participants.tsv"
    head, *rows = path.read_text().splitlines()
    out = [f"{head}\tmadrs_ses-pre\tmadrs_ses-post"]
    for k, row in enumerate(rows):
        healthy = "reference" in row
        scores = "n/a\tn/a" if healthy or k == 2 else f"{25 + k % 5}\t{12 + (3 * k) % 11}"
        out.append(f"{row}\t{scores}")
    path.write_text("\n".join(out) + "\n")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small study with a missing visit, missing regions, a damaged image and a symptom score."""
    root = tmp_path_factory.mktemp("pages")
    write_simulated_data_set(
        root / "data", PlantedTruth("specific"), spec=SPEC, rng=np.random.default_rng(8)
    )
    add_scores(root / "data")
    participants = sorted(root.glob("data/**/sub-*/ses-post"))
    damaged = next(participants[-1].rglob("*_bold.nii.gz"))
    damaged.write_bytes(b"an error page")
    (root / "study.toml").write_text(STUDY)
    words = ("-w", root / "work", "--nprocs", 2, "--study", root / "study.toml")
    codes = [run(root / "data", root / "out", level, *words) for level in ("participant", "group")]
    assert codes == [EXIT_PARTIAL, EXIT_PARTIAL]  # one image is damaged
    return root, participants[-1].parent.name


class Tables(HTMLParser):
    """Tables of a page by caption, as rows of text, and the JSON data of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.data = {}, {}
        self.caption, self.rows, self.cell, self.script = None, [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows, self.caption = [], ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th", "caption"):
            self.cell = ""
        elif tag == "script":
            self.script = dict(attrs).get("id")

    def handle_endtag(self, tag):
        if tag == "caption":
            self.caption = self.cell
        elif tag in ("td", "th"):
            self.rows[-1].append(self.cell)
        elif tag == "table":
            self.found[self.caption] = self.rows
        elif tag == "script":
            self.script = None

    def handle_data(self, data):
        if self.script:
            self.data[self.script] = json.loads(data)
        elif self.cell is not None:
            self.cell += data


@pytest.fixture(scope="module")
def study_page(study):
    root, _ = study
    folder = root / "out/group"
    return folder, Tables((folder / "report.html").read_text(encoding="utf-8"))


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def close(shown, value, *, text=""):
    """Check that a printed number is the value of the table, rounded to the printed digits."""
    if shown in (wording.MISSING, ""):
        assert not np.isfinite(wording.number(value)), text
    elif shown.startswith(("<", ">")):
        limit = number(shown[1:])
        assert float(value) < limit if shown[0] == "<" else float(value) > limit, text
    else:
        digits = len(shown.partition(".")[2])
        assert number(shown) == pytest.approx(float(value), abs=0.51 * 10.0**-digits), text


# -- numbers --------------------------------------------------------------------------------------


def test_all_estimates_of_the_page_equal_those_of_the_table(study_page):
    folder, page = study_page
    rows = list(tables.read_table(folder / "tests.tsv").rows())
    shown = page.found["All estimates"][1:]
    assert len(shown) == len(rows)
    for cells, row in zip(shown, rows, strict=True):
        name = cells[0]
        assert (name, cells[1]) == (row["test"], row["family"])
        close(cells[2].lstrip("+"), row["estimate"], text=name)
        if cells[3] != wording.MISSING:
            low, high = re.split(r"\s+to\s+", cells[3])
            close(low, row["ci_low"], text=name)
            close(high, row["ci_high"], text=name)
        statistic, df = re.fullmatch(r"(.+) \((.+)\)", cells[5]).groups()
        for text, column in (
            (statistic, "statistic"), (df, "df"), (cells[6], "p"), (cells[7], "p_corrected"),
            (cells[8], "bound"), (cells[9], "equivalence_p"),
        ):  # fmt: skip
            close(text, row[column], text=f"{name}: {column}")
        assert cells[11] == f"{row['n']} ({row['n_control']}, {row['n_reference']})"


def test_circuits_participants_networks_and_power_equal_those_of_the_tables(study_page):
    folder, page = study_page
    tests = {(r["family"], r["term"]): r for r in tables.read_table(folder / "tests.tsv").rows()}
    shown = page.found["Circuits, Fisher z"]
    reliability = list(tables.read_table(folder / "reliability.tsv").rows())
    terms = set()
    for cells in shown[1:]:
        found = dict(zip(shown[0], cells, strict=True))
        name = re.search(r"\((\w+)\)$", found["Circuit"])
        term = name[1] if name else found["Circuit"]
        terms.add(term)
        row = tests["specific", term]
        close(found["Unadjusted change"].lstrip("+"), tests["circuit change", term]["estimate"])
        close(found["Residual change"].lstrip("+"), row["estimate"])
        close(found["p corrected"], row["p_corrected"])
        icc = re.match(r"(\S+) \((.+)\)", found["Reliability"])
        if icc:
            (same,) = [r for r in reliability if (r["circuit"], r["source"]) == (term, icc[2])]
            close(icc[1], same["icc_consistency"])
    assert terms == {term for family, term in tests if family == "specific"}

    values = {
        (r["participant_id"], r["session"], r["circuit"]): r["value_z"]
        for r in tables.read_table(folder / "circuits.tsv").rows()
    }
    shown = page.found["Mean Fisher z of each circuit"]
    for cells in shown[1:]:
        for circuit, text in zip(shown[0][4:], cells[4:], strict=True):
            close(text, values.pop((cells[0], cells[3], circuit)))
    assert not values  # all values are on the page

    networks = list(tables.read_table(folder / "networks.tsv").rows())
    shown = page.found["Change within and between networks, Fisher z"][1:]
    for cells, row in zip(shown, networks, strict=True):
        assert cells[0] == f"{row['network_a']} \N{EN DASH} {row['network_b']}"
        close(cells[1].lstrip("+"), row["estimate_z"])
        close(cells[4], row["p_corrected"])

    of_circuits, of_global = (
        page.found[f"Smallest detectable effects of {kind}"][1:]
        for kind in ("circuits", "global terms")
    )
    n_tests = sum(family in ("global", "specific") for family, _ in tests)
    assert len(of_circuits) + len(of_global) == n_tests
    words = {
        "global_signal": "global-signal amplitude",
        "average_change": "average change",
        "proportional_change": "proportional change",
    }
    of_terms = {
        words.get(term, term): row for (family, term), row in tests.items() if family == "global"
    }
    for cells in of_global:
        close(cells[3], of_terms[cells[0]]["detectable"])
        close(cells[4], of_terms[cells[0]]["detectable_family"])


def test_the_interactive_brain_shows_the_values_of_the_edges(study_page):
    folder, page = study_page
    data = page.data["connectome-data"]
    table = tables.read_table(folder / "edges.tsv")
    change = table.numbers("estimate_z")
    labels = [None if node is None else node[3] for node in data["nodes"]]
    ends = zip(table.column("node_a"), table.column("node_b"), strict=True)
    values = dict(zip(ends, change.tolist(), strict=True))
    for part in data["sets"]:
        assert part["edges"]
        for a, b, value in part["edges"]:
            assert value == pytest.approx(values[labels[a], labels[b]], abs=5.1e-5)
    shown = {(labels[a], labels[b]) for a, b, _ in data["sets"][0]["edges"]}
    statistic = np.abs(table.numbers("statistic"))
    largest = np.argsort(-np.nan_to_num(statistic), kind="stable")[: len(shown)]
    names = list(values)
    assert {names[k] for k in largest} == shown


def test_the_methods_text_follows_from_the_recorded_settings(study):
    from circuitshift.pipeline.measure.atlas_files import read_atlas
    from circuitshift.pipeline.measure.denoise import load_strategies
    from circuitshift.pipeline.reports.study.methods import methods_group

    root, _ = study
    content = tables.read_json(root / "out/group/verdict.json")
    atlas = read_atlas(root / "out", content["atlas"])
    page = (root / "out/group/report.html").read_text(encoding="utf-8")
    methods = methods_group(content, atlas)
    text = " ".join(methods.text.split())
    assert "seed 20260101" in text
    assert "up to 100 permutations" in text
    assert "change in mean framewise displacement" in text
    terms = [GLOBAL_TERMS.get(name, name) for name in content["global"]]
    for name in (*terms, *(row["title"] for row in content["circuits"].values())):
        assert name in text
    assert "with circuitshift " + content["versions"]["circuitshift"] in text
    assert " ".join(load_strategies()["24p+acompcor"].prose.split()) in text
    # other settings give another text
    design = content["design"] | {
        "background": "matched", "sesoi_z": 0.17, "alpha": 0.01, "n_permutations": 77,
        "directions": [["dmn", "decrease"]], "weighted": True,
    }  # fmt: skip
    settings = content["settings"] | {"estimator": "partial", "min_minutes": 3.5}
    for strategy, found in load_strategies().items():
        other = content | {"design": design, "settings": settings, "strategy": strategy}
        changed = " ".join(methods_group(other, atlas).text.split())
        assert " ".join(found.prose.split()) in changed
        for words in (
            "matched to the circuits", "0.17 Fisher z", "alpha = 0.01", "up to 77",
            "Default-mode network (decrease)", "weighted", "partial correlations",
            "less than 3.5 minutes",
        ):  # fmt: skip
            assert words in changed
            assert words not in text
    bib = (root / "out/group/references.bib").read_text(encoding="utf-8")
    cited = set(re.findall(r"doi:(10\.[^\s)]*\w)", text))
    assert cited
    assert all(f"doi={{{doi}}}" in bib for doi in cited)
    assert len(re.findall(r"^@", bib, re.MULTILINE)) == len(methods.references)
    keys = re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert all(f"https://doi.org/{doi}" in page for doi in cited)


def test_reports_only_writes_the_same_report_again(study):
    root, _ = study
    path = root / "out/group/report.html"
    before = path.read_bytes()
    path.unlink()
    words = ("-w", root / "work", "--study", root / "study.toml", "--reports-only")
    assert run(root / "data", root / "out", "group", *words) in (EXIT_OK, EXIT_PARTIAL)
    assert path.read_bytes() == before


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        reason = "chromium is not installed; run `make browser`"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(study, pooled_page):
    """Reports of the study and of participants with two visits, one visit and a damaged image.

    And the page of a meta-analysis.
    """
    root, damaged = study
    out = root / "out"
    visits = {
        path.name: len(list(path.glob("ses-*")))
        for path in sorted(out.glob("sub-*"))
        if path.is_dir()
    }
    two, one = (next(name for name, n in visits.items() if n == k) for k in (2, 1))
    participants = {"two visits": two, "one visit": one, "damaged image": damaged}
    return {"study": out / "group/report.html", "pool": pooled_page} | {
        name: out / f"{person}.html" for name, person in participants.items()
    }


NAMES = ("study", "pool", "two visits", "one visit", "damaged image")


def opened(browser, path, **options):
    """Open a page; return it with its console messages, errors and network requests."""
    context = browser.new_context(**options)
    page = context.new_page()
    messages = []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url == path.as_uri() or request.url.startswith("data:")
            else messages.append(f"requests {request.url}")
        ),
    )
    page.goto(path.as_uri())
    return page, messages


LAYOUT = """() => {
  const bad = [], near = 1.5;
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) bad.push('the page scrolls horizontally');
  for (const svg of document.querySelectorAll('svg.plot')) {
    const frame = svg.getBoundingClientRect(), name = svg.getAttribute('aria-label').slice(0, 50);
    if (!frame.width) continue;
    const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim())
      .map(t => ({ text: t.textContent, box: t.getBoundingClientRect(),
        turned: !/rotate\\(-?0(\\.0+)? /.test((t.getAttribute('transform') || 'rotate(0 ')) }));
    for (const { text, box } of texts)
      if (box.left < frame.left - near || box.right > frame.right + near ||
          box.top < frame.top - near || box.bottom > frame.bottom + near)
        bad.push(`clipped: ${text} (${name})`);
    const level = texts.filter(t => !t.turned && t.box.width);
    for (let i = 0; i < level.length; i++) for (let j = i + 1; j < level.length; j++) {
      const a = level[i].box, b = level[j].box;
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1 && y > 0.4 * Math.min(a.height, b.height))
        bad.push(`overlap: ${level[i].text} / ${level[j].text} (${name})`);
    }
  }
  return bad;
}"""


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("name", NAMES)
def test_layout_without_clipped_or_overlapping_text_messages_and_requests(
    browser, pages, name, width
):
    page, messages = opened(browser, pages[name], viewport={"width": width, "height": 900})
    for closed in page.query_selector_all("details:not([open])"):
        closed.evaluate("part => { part.open = true; }")
    assert page.evaluate(LAYOUT) == []
    assert messages == []
    page.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_printed_pages_fit_on_the_paper(browser, pages, name):
    page, messages = opened(browser, pages[name], viewport={"width": A4_PX, "height": 1000})
    page.emulate_media(media="print")
    assert page.evaluate(LAYOUT) == []
    assert (
        page.evaluate(
            """() => [...document.querySelectorAll('section, .wide, figure')]
          .filter(part => part.scrollWidth > part.clientWidth + 2)
          .map(part => part.getAttribute('aria-label') || part.id || part.tagName)"""
        )
        == []
    )
    assert page.evaluate("() => getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert messages == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_pages_have_no_serious_accessibility_problem(browser, pages, name, scheme):
    page, messages = opened(browser, pages[name], color_scheme=scheme)
    page.add_script_tag(content=AXE.read_text())
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    barriers = [
        f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:120]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert barriers == []
    assert len(found["passes"]) > 10
    for plot in page.query_selector_all("svg"):
        assert len(plot.get_attribute("aria-label")) > 20
    assert all(image.get_attribute("alt") for image in page.query_selector_all("img"))
    assert messages == []
    page.context.close()


def test_the_keyboard_reaches_everything_and_turns_the_brain(browser, pages):
    page, messages = opened(browser, pages["study"], viewport={"width": 1400, "height": 900})
    page.keyboard.press("Tab")
    focused = "() => document.activeElement.className || document.activeElement.tagName"
    assert page.evaluate(focused) == "skip"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().left >= 0")
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    canvas = page.query_selector("#connectome-live canvas")
    canvas.focus()
    outline = "e => getComputedStyle(e).outlineStyle"
    pixels = "e => e.toDataURL()"
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert canvas.evaluate(outline) != "none"
    seen = [canvas.evaluate(pixels)]
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
        page.wait_for_function(  # the next frame, which is late if the machine is busy
            "last => document.querySelector('#connectome-live canvas').toDataURL() !== last",
            arg=seen[-1],
        )
        seen.append(canvas.evaluate(pixels))
    assert len(set(seen)) == 4
    page.keyboard.press("0")
    page.wait_for_timeout(60)
    assert canvas.evaluate(pixels) == seen[0]
    words = page.query_selector("[data-words]")
    before = words.text_content()
    page.select_option("#connectome-set", index=1)
    page.wait_for_timeout(60)
    assert words.text_content() != before
    assert canvas.evaluate(pixels) != seen[0]
    page.click("#connectome-live button[value=above]")
    page.wait_for_timeout(60)
    assert canvas.evaluate(pixels) not in seen
    assert messages == []
    page.context.close()


def test_links_of_the_study_lead_to_files(browser, pages):
    page, _ = opened(browser, pages["study"])
    links = page.eval_on_selector_all("a[href]", "found => found.map(a => a.href)")
    local = [link for link in links if link.startswith("file:")]
    assert any("sub-" in link for link in local)
    for link in local:
        path, _, anchor = link.partition("#")
        assert Path(path.removeprefix("file://")).exists(), link
        assert not anchor or page.query_selector(f"#{anchor}"), link
    page.context.close()
