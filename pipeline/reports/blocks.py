"""What a report is made of: sections, and the blocks that each of them shows.

A section is one entry of the list of its report: an id, a title, and a function that turns the data
of the report into blocks. The navigation and the page follow from the list.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

__all__ = [
    "Block",
    "Box",
    "Cell",
    "Code",
    "Details",
    "Figure",
    "Heading",
    "Items",
    "Link",
    "Log",
    "PageTable",
    "Pairs",
    "Prose",
    "Quote",
    "Section",
    "ShownSection",
    "Widget",
    "Words",
    "shown_sections",
]

Report = TypeVar("Report")


# -- words ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """A link within a text.

    Parameters
    ----------
    text : str
        Words of the link.
    href : str
        Where it leads.
    download : str
        Name under which the browser saves the target; empty to open it.
    """

    kind: ClassVar = "link"
    text: str
    href: str
    download: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A command or file name within a text.

    Parameters
    ----------
    text : str
    """

    kind: ClassVar = "code"
    text: str


#: A text in which every DOI becomes a link; or its parts, in their order.
Words = str | Sequence[str | Link | Code]


# -- blocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph.

    Parameters
    ----------
    words : str or sequence of str, Link or Code
    style : {"", "soft", "strong"}
        Explanations are soft; the words that open a box are strong.
    """

    kind: ClassVar = "prose"
    words: Words
    style: Literal["", "soft", "strong"] = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section.

    Parameters
    ----------
    text : str
    """

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list.

    Parameters
    ----------
    lines : sequence of Words
    ordered : bool
        Whether the lines are numbered.
    """

    kind: ClassVar = "items"
    lines: Sequence[Words]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and what stands below it.

    Parameters
    ----------
    svg : str
        One element, with its description for readers who cannot see it.
    caption : str
    """

    kind: ClassVar = "figure"
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that does not look as the others do.

    Parameters
    ----------
    text : str
    style : {"nowrap", "open"}
        Not broken over lines, or left open for the authors to complete.
    """

    text: str
    style: Literal["nowrap", "open"]


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table; its first column names the row.

    Parameters
    ----------
    caption : str
    head : sequence of str
        One name per column.
    rows : sequence of sequence of str or Cell
    style : {"", "text"}
        ``text`` for tables of words rather than numbers.
    """

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    style: Literal["", "text"] = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """A text to be copied.

    Parameters
    ----------
    words : Words
    """

    kind: ClassVar = "quote"
    words: Words


@dataclass(frozen=True, slots=True)
class Log:
    """Lines of a program, as they are.

    Parameters
    ----------
    text : str
    """

    kind: ClassVar = "log"
    text: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and what belongs to them.

    Parameters
    ----------
    rows : sequence of (str, str or Code or sequence of Block)
    """

    kind: ClassVar = "pairs"
    rows: "Sequence[tuple[str, str | Code | Sequence[Block]]]"


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that the reader unfolds; they are printed unfolded.

    Parameters
    ----------
    summary : str
        Words that stay visible.
    blocks : sequence of Block
    """

    kind: ClassVar = "details"
    summary: str
    blocks: "Sequence[Block]"


@dataclass(frozen=True, slots=True)
class Box:
    """Blocks that stand out from the rest.

    Parameters
    ----------
    look : {"answer", "warn"}
    blocks : sequence of Block
    """

    kind: ClassVar = "box"
    look: Literal["answer", "warn"]
    blocks: "Sequence[Block]"


@dataclass(frozen=True, slots=True)
class Widget:
    """A part with a script of its own.

    Parameters
    ----------
    template : str
        File of ``templates``; it finds its data under the name ``data``.
    data : mapping or sequence
    """

    kind: ClassVar = "widget"
    template: str
    data: Mapping[str, Any] = field(default_factory=dict)


Block = Prose | Heading | Items | Figure | PageTable | Quote | Log | Pairs | Details | Box | Widget


# -- sections -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section(Generic[Report]):
    """A section of a report.

    Parameters
    ----------
    id : str
        Anchor within the page.
    title : str
        Heading of the section, and its name in the navigation.
    blocks : callable
        Takes the data of the report and gives the blocks of the section. What is None is left out:
        a figure that cannot be drawn, for example. A section without blocks is not shown.
    """

    id: str
    title: str
    blocks: Callable[[Report], Iterable[Block | None]]


@dataclass(frozen=True, slots=True)
class ShownSection:
    """A section of one page.

    Parameters
    ----------
    id, title : str
    blocks : tuple of Block
        At least one.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]


def shown_sections(sections: Iterable[Section[Report]], report: Report) -> Iterator[ShownSection]:
    """Make the sections of one page.

    Parameters
    ----------
    sections : iterable of Section
    report : object
        Data of the report.

    Yields
    ------
    ShownSection
        In the order of `sections`, without those that have nothing to show.

    Examples
    --------
    >>> numbers = Section("n", "Numbers", lambda report: [Prose(text) for text in report])
    >>> [section.blocks for section in shown_sections([numbers], ["one"])]
    [(Prose(words='one', style=''),)]
    >>> list(shown_sections([numbers], []))
    []
    """
    for section in sections:
        blocks = tuple(block for block in section.blocks(report) if block is not None)
        if blocks:
            yield ShownSection(section.id, section.title, blocks)
