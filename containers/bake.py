"""Fetch the templates and atlases that an image carries beyond those in nilearn.

Run while an image is built, with TEMPLATEFLOW_HOME set. What cannot be reached is named and left
out: the default template and the default atlas come with nilearn, so the image works without.
"""

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.preproc.template import load_template

SPACE = "MNI152NLin2009cAsym"
#: Their licences let them be passed on: ICBM's (template), MIT (Schaefer 2018).
ATLASES = tuple(f"Schaefer2018_{n}Parcels_7Networks" for n in (100, 200, 400))


def main() -> None:
    """Fetch all, or stop at the first that cannot be reached."""
    for name in (SPACE, *ATLASES):
        try:
            if name == SPACE:
                load_template(name)
            else:
                load_atlas(name, space=SPACE)
        except CircuitshiftError as error:
            print(f"left out of the image: {name} and what follows ({error})")
            return
        print(f"in the image: {name}")


if __name__ == "__main__":
    main()
