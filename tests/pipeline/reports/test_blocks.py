"""Each block is converted to its HTML, and its text is escaped."""

import typing

import pytest

from circuitshift.pipeline.reports import blocks
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Cell,
    Code,
    Details,
    Figure,
    Heading,
    Items,
    Link,
    Log,
    PageTable,
    Pairs,
    Prose,
    Quote,
    Section,
    Widget,
    shown_sections,
)
from circuitshift.pipeline.reports.page import render

DOI = '<a href="https://doi.org/10.1000/x">doi:10.1000/x</a>'
WRITTEN = {
    Prose: (Prose("As in doi:10.1000/x & others"), f"<p>As in {DOI} &amp; others</p>"),
    Heading: (Heading("A < B"), "<h3>A &lt; B</h3>"),
    Items: (Items(["one", (Link("two", "2.html"), " and ", Code("x"))], ordered=True), (
        "<ol> <li>one</li> <li><a href=\"2.html\">two</a> and <code>x</code></li> </ol>"
    )),
    Figure: (Figure("<svg/>", "It & I"), "<svg/></div> <figcaption>It &amp; I</figcaption>"),
    PageTable: (
        PageTable("C", ("a", "b"), [("1", Cell("2", "open")), ("3", "doi:10.1000/x")], "text"),
        '<table class="text"> <caption>C</caption> <thead><tr><th scope="col">a</th>'
        '<th scope="col">b</th></tr></thead> <tbody> <tr><th scope="row">1</th>'
        f'<td class="open">2</td></tr> <tr><th scope="row">3</th><td>{DOI}</td></tr> </tbody>',
    ),
    Quote: (Quote("Text."), "<blockquote>Text.</blockquote>"),
    Log: (Log("a\n  <b>"), '<pre class="wide" tabindex="0">a\n  &lt;b&gt;</pre>'),
    Pairs: (
        Pairs([("a", "1"), ("b", Code("run")), ("c", [Prose("p", "soft")])]),
        "<dl> <dt>a</dt><dd>1</dd> <dt>b</dt><dd><code>run</code></dd> "
        '<dt>c</dt><dd><p class="soft">p</p> </dd> </dl>',
    ),
    Details: (
        Details("More", (Prose("hidden", "strong"),)),
        "<details><summary>More</summary> <p><strong>hidden</strong></p> </details>",
    ),
    Box: (Box("warn", (Heading("!"),)), '<div class="warn"> <h3>!</h3> </div>'),
    Widget: (
        Widget("rating.html", {"person": 'sub-"1"', "page": "", "kinds": [], "sessions": []}),
        'data-person="sub-&#34;1&#34;"',
    ),
}  # fmt: skip


def written(*shown, **more):
    section = Section("one", "One", lambda report: report)
    return render(shown_sections([section], shown), title="T", **more)


def spaces_joined(text):
    return " ".join(text.split())


def test_every_kind_of_block_has_an_example():
    assert set(WRITTEN) == set(typing.get_args(Block))
    assert len({kind.kind for kind in WRITTEN}) == len(WRITTEN)
    assert {kind.__name__ for kind in WRITTEN} <= set(blocks.__all__)


@pytest.mark.parametrize("kind", list(WRITTEN), ids=lambda kind: kind.__name__)
def test_a_block_is_converted_to_its_html(kind):
    block, expected = WRITTEN[kind]
    assert spaces_joined(expected) in spaces_joined(written(block))


def test_none_and_sections_without_blocks_are_omitted():
    page = written(None, Prose("here"), None)
    assert page.count('href="#one"') == page.count('id="one"') == 1
    assert "None" not in page
    for nothing in ((), (None, None)):
        page = written(*nothing)
        assert 'href="#one"' not in page
        assert "<section" not in page


def test_css_rules_of_one_page_are_on_this_page_only():
    assert ".live canvas" not in written(Prose("x"))
    assert ".live canvas" in written(Prose("x"), style="study.css")
    assert "<h1>T</h1>" in written(Prose("x"))
    assert "<h1>H</h1>" in written(Prose("x"), heading="H")
