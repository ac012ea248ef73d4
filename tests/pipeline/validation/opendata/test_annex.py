"""git-annex data sets: clones, sizes, and content that is fetched or removed."""

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.opendata import annex

IMAGE, TEXT, OTHER = "sub-01/func/a_bold.nii.gz", "participants.tsv", "sub-01/func/b_bold.nii.gz"


@pytest.fixture
def source(tmp_path, annex_repository, published_data):
    """Make a repository of two images and a table; returns path, git function and contents."""
    contents = {
        IMAGE: published_data.image(1), OTHER: published_data.image(2), TEXT: b"participant_id\n",
    }  # fmt: skip
    return tmp_path / "source", annex_repository(tmp_path / "source", contents), contents


def test_a_clone_has_sizes_but_no_images_until_they_are_fetched(source, tmp_path):
    path, git, contents = source
    clone = tmp_path / "clone"
    annex.clone(str(path), clone)
    assert annex.commit_of(clone) == git("rev-parse", "HEAD")
    assert annex.sizes_of(clone) == {name: len(data) for name, data in contents.items()}
    assert (clone / TEXT).read_bytes() == contents[TEXT]
    assert not (clone / IMAGE).exists()
    lines: list[str] = []
    assert annex.get(clone, [IMAGE], notify=lines.append) == {}
    assert lines == [f"[1] {IMAGE}"]
    assert (clone / IMAGE).read_bytes() == contents[IMAGE]
    assert not (clone / OTHER).exists()
    annex.drop(clone, [IMAGE])
    assert not (clone / IMAGE).exists()
    annex.clone(str(path), clone)  # an existing clone is kept
    with pytest.raises(InputError, match=r"is a clone of .*source, not of .*; choose another"):
        annex.clone(str(tmp_path), clone)


def test_content_that_is_missing_at_the_source_is_reported(source, tmp_path):
    path, git, contents = source
    git("annex", "drop", "--force", IMAGE)
    clone = tmp_path / "clone"
    annex.clone(str(path), clone)
    failed = annex.get(clone, [IMAGE, OTHER], notify=lambda _: None)
    assert list(failed) == [IMAGE]
    assert failed[IMAGE]
    assert (clone / OTHER).read_bytes() == contents[OTHER]


def test_a_repository_that_cannot_be_reached_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"cannot be used .*; run this again with network access"):
        annex.clone(str(tmp_path / "none"), tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_missing_programs_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(annex.shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(InputError, match="git is not installed; install git"):
        annex.clone("https://example.org/x.git", tmp_path / "clone")
