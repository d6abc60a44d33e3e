"""Licences of models from elsewhere."""

import pytest

from jobs.model_licences import licence_of_model


@pytest.mark.parametrize(
    ("reference", "licence"),
    [
        ("depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0"),
        ("depth-anything/Depth-Anything-V2-Large", "CC-BY-NC-4.0"),
        ("LiheYoung/depth-anything-large-hf", "Apache-2.0"),
        ("facebook/dinov2-giant", "Apache-2.0"),
        ("facebook/dinov2-with-registers-base", "Apache-2.0"),
        ("facebook/dinov2-small@main", "Apache-2.0"),
        ("facebook/dinov2-small-imagenet1k-1-layer", "Apache-2.0"),
        ("depth-anything/Depth-Anything-V2-Base-hf@0123abc", "CC-BY-NC-4.0"),
        ("depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf", None),
        ("Intel/dpt-large", "Apache-2.0"),
        ("Intel/dpt-beit-large-512", "MIT"),
        ("Intel/zoedepth-nyu-kitti", "MIT"),
        ("vinvino02/glpn-kitti", "Apache-2.0"),
        ("apple/DepthPro-hf", "apple-amlr"),
        ("somebody/Depth-Anything-V2-Small-hf", None),
        ("facebook/dinov2-small-of-mine", None),
        ("", None),
    ],
)
def test_ids_whose_licence_was_announced(reference, licence):
    assert licence_of_model(reference) == licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- depth\n---\n# Model", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: my-own\n---\n", "my-own"),
        ("---\nlicense: [mit, cc0-1.0]\n---\n", "mit, cc0-1.0"),
        ("---\nlicense: unknown\n---\n", None),
        ("---\nlicense: other\n---\n", None),
        ("license: mit\n", None),
        ("---\nlicense: [mit\n---\n", None),
        ("---\n- license\n---\n", None),
        ("---\ntags: x\n---\n", None),
    ],
)
def test_model_cards(tmp_path, card, licence):
    (tmp_path / "README.md").write_bytes(card.encode())
    (tmp_path / "weights.pth").write_bytes(b"")
    assert licence_of_model(str(tmp_path)) == licence
    assert licence_of_model(f"{tmp_path}/weights.pth#v2-s") == licence


def test_a_folder_without_a_card_has_no_licence_whatever_its_name(tmp_path, monkeypatch):
    (tmp_path / "facebook" / "dinov2-small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert licence_of_model("facebook/dinov2-small") is None
