"""The parts of a report: sections, and the blocks that they show.

A section is an entry in the list of its report. It has an id, a title, and a function that turns
the data of the report into blocks. The navigation and the page are generated from the list.
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


# -- text -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """A link within a text.

    Parameters
    ----------
    text : str
        Text of the link.
    href : str
        Address of its target.
    download : str
        Name under which the browser saves the target; empty to open the target.
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
        The command or file name.
    """

    kind: ClassVar = "code"
    text: str


#: A text in which every DOI becomes a link, or a sequence of its parts.
Words = str | Sequence[str | Link | Code]


# -- blocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph.

    Parameters
    ----------
    words : str or sequence of str, Link or Code
        Text of the paragraph.
    style : {"", "soft", "strong"}
        ``soft`` for explanations, ``strong`` for the first sentence of a box.
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
        Text of the heading.
    """

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list.

    Parameters
    ----------
    lines : sequence of Words
        Text of each item.
    ordered : bool
        Whether the items are numbered.
    """

    kind: ClassVar = "items"
    lines: Sequence[Words]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its caption.

    Parameters
    ----------
    svg : str
        One ``<svg>`` element, which includes a text alternative for screen readers.
    caption : str
        Text below the figure.
    """

    kind: ClassVar = "figure"
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell with a style of its own.

    Parameters
    ----------
    text : str
        Content of the cell.
    style : {"nowrap", "open"}
        ``nowrap`` for text on one line, ``open`` for an item that the authors must complete.
    """

    text: str
    style: Literal["nowrap", "open"]


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table whose first column holds the names of its rows.

    Parameters
    ----------
    caption : str
        Text above the table.
    head : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str or Cell
        Cells of each row.
    style : {"", "text"}
        ``text`` for tables that contain text rather than numbers.
    """

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    style: Literal["", "text"] = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """A text for the reader to copy.

    Parameters
    ----------
    words : Words
        The text.
    """

    kind: ClassVar = "quote"
    words: Words


@dataclass(frozen=True, slots=True)
class Log:
    """Output of a program, shown unchanged.

    Parameters
    ----------
    text : str
        Lines of the output.
    """

    kind: ClassVar = "log"
    text: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """A list of names and values.

    Parameters
    ----------
    rows : sequence of (str, str or Code or sequence of Block)
        Name and value of each pair.
    """

    kind: ClassVar = "pairs"
    rows: "Sequence[tuple[str, str | Code | Sequence[Block]]]"


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that are collapsed until the reader opens them; in print they are open.

    Parameters
    ----------
    summary : str
        Text that is always visible.
    blocks : sequence of Block
        Collapsed content.
    """

    kind: ClassVar = "details"
    summary: str
    blocks: "Sequence[Block]"


@dataclass(frozen=True, slots=True)
class Box:
    """Highlighted blocks.

    Parameters
    ----------
    look : {"answer", "warn"}
        Style of the box: the main result, or a warning.
    blocks : sequence of Block
        Content of the box.
    """

    kind: ClassVar = "box"
    look: Literal["answer", "warn"]
    blocks: "Sequence[Block]"


@dataclass(frozen=True, slots=True)
class Widget:
    """An interactive part with its own script.

    Parameters
    ----------
    template : str
        File in ``templates``, which receives `data` under the name ``data``.
    data : mapping
        Data of the template.
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
        Function that takes the data of the report and returns the blocks of the section. Blocks
        that are None are omitted, for example a figure that cannot be drawn. A section without
        blocks is not shown.
    """

    id: str
    title: str
    blocks: Callable[[Report], Iterable[Block | None]]


@dataclass(frozen=True, slots=True)
class ShownSection:
    """A section with the blocks of one report.

    Parameters
    ----------
    id, title : str
        Anchor within the page, and heading.
    blocks : tuple of Block
        At least one block.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]


def shown_sections(sections: Iterable[Section[Report]], report: Report) -> Iterator[ShownSection]:
    """Yield the sections of a report that have content.

    Parameters
    ----------
    sections : iterable of Section
        Sections in the order of the page.
    report : object
        Data of the report.

    Yields
    ------
    ShownSection
        Sections in the order of `sections`, without those that have no blocks.

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
