"""Write ``pipeline/bids/entities.py`` from the BIDS schema that `bidsschematools` carries.

Run it as ``python tests/pipeline/bids/derive_entities.py`` after an update of bidsschematools;
``test_entities.py`` compares the file with the schema.
"""

from pathlib import Path

from bidsschematools.schema import load_schema

FILE = Path(__file__).resolve().parents[3] / "pipeline" / "bids" / "entities.py"
TEXT = '''\
"""Entities of the BIDS schema, in the order of file names.

Written by tests/pipeline/bids/derive_entities.py; change that script, not this file.
"""

__all__ = ["BIDS_VERSION", "ENTITIES", "LABEL", "SCHEMA_VERSION"]

SCHEMA_VERSION = "{schema_version}"
BIDS_VERSION = "{bids_version}"

#: Regular expression of a label.
LABEL = r"{label}"

#: Key in file names, long name, and format of the value (``label``, or ``index`` for numbers).
ENTITIES = (
{entities}
)
'''


def derived() -> str:
    """Return the text of the file."""
    schema = load_schema()
    lines = []
    for long_name in schema.rules.entities:
        entity = schema.objects.entities[long_name]
        lines.append(f'    ("{entity.name}", "{long_name}", "{entity.format}"),')
    return TEXT.format(
        schema_version=schema.schema_version,
        bids_version=schema.bids_version,
        label=schema.objects.formats.label.pattern,
        entities="\n".join(lines),
    )


if __name__ == "__main__":
    FILE.write_text(derived(), encoding="utf-8")
