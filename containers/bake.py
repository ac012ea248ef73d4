"""Download templates and atlases that nilearn does not include into a container image.

The script runs while an image is built, with TEMPLATEFLOW_HOME set. Files that cannot be downloaded
are reported and omitted: the default template and the default atlas are part of nilearn, so the
image works without them.
"""

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.preproc.template import load_template

SPACE = "MNI152NLin2009cAsym"
#: Their licences permit redistribution: ICBM's (template), MIT (Schaefer 2018), free with citation
#: (Tian 2020). Schaefer's regions are cortical and Tian's subcortical; an atlas of both, such as
#: Schaefer2018_200Parcels_7Networks+Tian_S2, is made from them without a network.
ATLASES = (
    *(f"Schaefer2018_{n}Parcels_7Networks" for n in (100, 200, 400)),
    *(f"Tian_S{scale}" for scale in range(1, 5)),
)


def main() -> None:
    """Download all files, or stop at the first that cannot be downloaded."""
    for name in (SPACE, *ATLASES):
        try:
            if name == SPACE:
                load_template(name)
            else:
                load_atlas(name, space=SPACE)
        except CircuitshiftError as error:
            print(f"not included in the image: {name} and the following files ({error})")
            return
        print(f"included in the image: {name}")


if __name__ == "__main__":
    main()
