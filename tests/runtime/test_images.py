from __future__ import annotations

import pickle
import struct
import sys
import zlib

import numpy as np
import pytest

from bnopt.errors import DataError, DependencyError, UsageError
from bnopt.runtime.data import load_data
from bnopt.runtime.dataset import open_dataset
from bnopt.runtime.images import ImageFolder
from bnopt.runtime.interface import TensorInfo
from bnopt.runtime.preprocess import PRESETS, Preprocess

Image = pytest.importorskip("PIL.Image")

NCHW = TensorInfo("x", "float", ("N", 3, None, None))
NHWC = TensorInfo("x", "float", ("N", None, None, 3))
GRAY = TensorInfo("x", "float", ("N", 1, None, None))
NONE = Preprocess(scale=1.0)
RGB = (10, 20, 30)


def save(folder, name: str, pixels, mode: str | None = None, **options):
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (image.convert(mode) if mode else image).save(folder / name, **options)


def colors(height: int = 4, width: int = 6) -> np.ndarray:
    """A different color at each place, [H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def only(folder, how: Preprocess, info: TensorInfo = NCHW) -> np.ndarray:
    """The only image of a folder as the model gets it."""
    (feed,) = open_dataset(ImageFolder(folder, how), [info]).feeds()
    assert len(feed["x"]) == 1
    return feed["x"][0]


class TestArithmetic:
    def test_one_pixel_by_hand(self, tmp_path):
        save(tmp_path, "a.png", np.full((2, 2, 3), RGB))
        found = only(tmp_path, Preprocess.parse("mean=0.1:0.2:0.3,std=0.5:0.25:2"))
        wanted = [(10 / 255 - 0.1) / 0.5, (20 / 255 - 0.2) / 0.25, (30 / 255 - 0.3) / 2]
        np.testing.assert_allclose(found[:, 0, 0], wanted, rtol=1e-6)
        assert found.shape == (3, 2, 2)
        assert found.dtype == np.float32

    @pytest.mark.parametrize(
        ("preset", "wanted"),
        [
            ("none", (10, 20, 30)),
            ("tf", (10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1)),
            ("caffe", (30 - 103.939, 20 - 116.779, 10 - 123.68)),
            (
                "imagenet,resize=4,crop=2",
                (
                    (10 / 255 - 0.485) / 0.229,
                    (20 / 255 - 0.456) / 0.224,
                    (30 / 255 - 0.406) / 0.225,
                ),
            ),
            ("none,channels=bgr", (30, 20, 10)),
            ("scale=2,mean=5", (15, 35, 55)),
        ],
    )
    def test_presets(self, tmp_path, preset, wanted):
        save(tmp_path, "a.png", np.full((2, 2, 3), RGB))
        found = only(tmp_path, Preprocess.parse(preset))
        np.testing.assert_allclose(found[:, 1, 1], wanted, rtol=1e-5)

    def test_layouts(self, tmp_path):
        save(tmp_path, "a.png", colors())
        np.testing.assert_array_equal(only(tmp_path, NONE), colors().transpose(2, 0, 1))
        np.testing.assert_array_equal(only(tmp_path, NONE, NHWC), colors())
        unknown = TensorInfo("x", "float", None)
        nhwc = Preprocess(scale=1.0, layout="nhwc")
        np.testing.assert_array_equal(only(tmp_path, nhwc, unknown), colors())
        for info in (unknown, TensorInfo("x", "float", ("N", 3, "H", 3))):
            with pytest.raises(DataError, match="give layout=nchw or layout=nhwc"):
                only(tmp_path, NONE, info)

    def test_gray(self, tmp_path):
        save(tmp_path, "a.png", np.full((2, 2, 3), RGB))
        # ITU-R 601: 0.299 R + 0.587 G + 0.114 B = 18.15
        assert only(tmp_path, NONE, GRAY).tolist() == [[[18, 18], [18, 18]]]
        with pytest.raises(DataError, match=r"shape \(1, 1, 2, 2\), the model takes \(N, 3"):
            only(tmp_path, Preprocess(channels="gray"))
        with pytest.raises(DataError, match=r"shape \(1, 3, 2, 2\), the model takes \(N, 1"):
            only(tmp_path, Preprocess(channels="rgb"), GRAY)
        with pytest.raises(DataError, match="has 3 values, but the model takes 1 channel"):
            only(tmp_path, Preprocess(mean=(1.0, 2.0, 3.0)), GRAY)

    @pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
    def test_the_dtype_is_the_models(self, tmp_path, dtype):
        save(tmp_path, "a.png", np.full((1, 1, 3), 51))
        dataset = open_dataset(
            ImageFolder(tmp_path), [TensorInfo("x", dtype, ("N", 3, None, None))]
        )
        (feed,) = dataset.feeds()
        assert str(feed["x"].dtype) == {"double": "float64"}.get(dtype, dtype)
        np.testing.assert_allclose(feed["x"].astype(float), 0.2, rtol=0.005)
        assert dataset.notes == ()

    def test_integers_are_pixels(self, tmp_path):
        save(tmp_path, "a.png", colors())
        info = TensorInfo("x", "uint8", ("N", None, None, 3))
        np.testing.assert_array_equal(only(tmp_path, NONE, info), colors())
        assert only(tmp_path, NONE, info).dtype == np.uint8
        with pytest.raises(DataError, match="takes uint8, but scale, mean or std make fractions"):
            only(tmp_path, Preprocess(), info)
        dataset = open_dataset(tmp_path, [info])
        np.testing.assert_array_equal(next(dataset.feeds())["x"][0], colors())
        assert "not scaled" in dataset.notes[0]


class TestSizes:
    def test_the_shorter_side(self, tmp_path):
        for shape, wanted in [((4, 7), (8, 14)), ((7, 4), (14, 8)), ((3, 4), (8, 10))]:
            save(tmp_path, "a.png", colors(*shape))
            assert only(tmp_path, Preprocess(resize=8)).shape == (3, *wanted)

    def test_width_by_height(self, tmp_path):
        save(tmp_path, "a.png", colors())
        assert only(tmp_path, Preprocess.parse("resize=5x2")).shape == (3, 2, 5)
        assert only(tmp_path, Preprocess.parse("crop=5x2")).shape == (3, 2, 5)

    def test_the_crop_is_central(self, tmp_path):
        save(tmp_path, "a.png", colors(5, 7))
        # (5 - 2) / 2 = 1.5 and (7 - 2) / 2 = 2.5 both round to 2, as torchvision's do
        found = only(tmp_path, Preprocess(scale=1.0, crop=2), NHWC)
        np.testing.assert_array_equal(found, colors(5, 7)[2:4, 2:4])
        with pytest.raises(DataError, match=r"a\.png.*7x5, smaller than the crop 6x6"):
            only(tmp_path, Preprocess(crop=6))

    @pytest.mark.parametrize(
        ("interpolation", "wanted"),
        [("nearest", [0, 100]), ("bilinear", [25, 75]), ("bicubic", None)],
    )
    def test_interpolation(self, tmp_path, interpolation, wanted):
        save(tmp_path, "a.png", np.repeat(np.array([[0, 0, 100, 100]])[..., None], 3, axis=2))
        how = Preprocess(scale=1.0, resize=(2, 1), interpolation=interpolation)
        found = only(tmp_path, how)[0, 0]
        if wanted is None:
            # a triangle of a width of 2 weighs 1/8 3/8 3/8 1/8, a cubic is not a triangle
            assert found.tolist() not in ([0, 100], [12, 88], [13, 87])
        elif interpolation == "nearest":
            assert found.tolist() == wanted
        else:
            # Pixels at 0.5 1.5 2.5 3.5, a triangle around 1 that reaches 2 to each side and is
            # normalised over the pixels it meets: weights 3 3 1, so 100/7.
            assert found.tolist() == [14, 86]

    def test_the_models_size_is_taken_and_told(self, tmp_path):
        save(tmp_path, "a.png", colors())
        fixed = TensorInfo("x", "float", ("N", 3, 8, 10))
        dataset = open_dataset(ImageFolder(tmp_path, NONE), [fixed])
        assert next(dataset.feeds())["x"].shape == (1, 3, 8, 10)
        assert "resized to 10x8, the size that the model takes" in dataset.notes[0]
        channels_last = TensorInfo("x", "float", ("N", 8, 10, 3))
        assert only(tmp_path, NONE, channels_last).shape == (8, 10, 3)
        half = TensorInfo("x", "float", ("N", 3, 8, "W"))
        with pytest.raises(
            DataError, match=r"shape \(1, 3, 4, 6\), the model takes \(N, 3, 8, W\)"
        ):
            only(tmp_path, NONE, half)

    def test_another_size_than_the_models_says_both(self, tmp_path):
        save(tmp_path, "a.png", colors())
        fixed = TensorInfo("x", "float", ("N", 3, 8, 10))
        for how in (Preprocess(resize=4), Preprocess(crop=2)):
            with pytest.raises(DataError, match=r"shape \(1, 3, \d, \d\), the model takes \(N, 3"):
                only(tmp_path, how, fixed)

    def test_images_of_different_sizes(self, tmp_path):
        save(tmp_path, "a.png", colors())
        save(tmp_path, "b.png", colors(5, 5))
        with pytest.raises(DataError, match=r"b\.png.*\(3, 5, 5\), the first image \(3, 4, 6\)"):
            list(open_dataset(ImageFolder(tmp_path), [NCHW]).feeds())


class TestFiles:
    def test_subfolders_in_order(self, tmp_path):
        for value, name in enumerate(["b.png", "sub/a.PNG", "sub/deep/c.bmp", "z.webp"]):
            save(tmp_path, name, np.full((2, 2, 3), value))
        save(tmp_path, "._b.png", np.full((2, 2, 3), 99))
        (tmp_path / "notes.txt").write_text("no image")
        (tmp_path / "folder.png").mkdir()
        dataset = open_dataset(ImageFolder(tmp_path, NONE), [NCHW], batch_size=3)
        feeds = [feed["x"][:, 0, 0, 0].tolist() for feed in dataset.feeds()]
        assert [len(feed) for feed in feeds] == [3, 1]
        assert [round(value) for feed in feeds for value in feed] == [0, 1, 2, 3]
        assert (dataset.total, dataset.samples, dataset.by_reference) == (2, 4, True)

    def test_shuffled_in_another_process(self, tmp_path, monkeypatch):
        for value in range(9):
            save(tmp_path, f"{value}.png", np.full((2, 2, 3), value))
        monkeypatch.chdir(tmp_path.parent)
        dataset = open_dataset(ImageFolder(tmp_path.name, NONE), [NCHW], seed=1, max_samples=5)
        (feed,) = dataset.feeds()
        order = np.random.default_rng(1).permutation(9)[:5].tolist()
        assert feed["x"][:, 0, 0, 0].tolist() == order
        payload = pickle.dumps(dataset)
        monkeypatch.chdir("/")
        (again,) = pickle.loads(payload).feeds()
        np.testing.assert_array_equal(again["x"], feed["x"])

    def test_a_folder_by_its_name_is_scaled_and_that_is_told(self, tmp_path):
        save(tmp_path, "a.png", np.full((2, 2, 3), 51))
        dataset = open_dataset(str(tmp_path), [NCHW])
        np.testing.assert_allclose(next(dataset.feeds())["x"], 0.2, rtol=1e-6)
        assert "scaled to [0, 1] and not normalised further; --preprocess" in dataset.notes[0]
        assert open_dataset(ImageFolder(tmp_path), [NCHW]).notes == ()

    def test_arrays_come_before_images(self, tmp_path):
        save(tmp_path, "a.png", colors())
        np.savez(tmp_path / "d.npz", x=np.ones((2, 3, 1, 1), "f"))
        assert open_dataset(tmp_path, [NCHW]).samples == 2

    def test_validation_reads_them_too(self, tmp_path):
        for value in range(3):
            save(tmp_path, f"{value}.png", colors())
        assert [len(f["x"]) for f in load_data(ImageFolder(tmp_path), [NCHW]).feeds] == [1, 2]
        assert len(load_data(tmp_path, [NCHW]).feeds) == 2

    def test_decoded_only_when_needed(self, tmp_path):
        for value in range(4):
            save(tmp_path, f"{value}.png", colors())
        (tmp_path / "3.png").write_bytes(b"broken")
        dataset = open_dataset(ImageFolder(tmp_path), [NCHW], batch_size=1)
        assert len(list(dataset.feeds(0, 3))) == 3
        with pytest.raises(DataError, match=r"3\.png"):
            list(dataset.feeds())

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
    def test_broken_files_are_named(self, tmp_path, name):
        save(tmp_path, name, colors(40, 40))
        whole = (tmp_path / name).read_bytes()
        for content in (b"", b"hello", whole[: len(whole) // 2], whole[:20]):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(DataError, match=name) as caught:
                open_dataset(tmp_path, [NCHW])
            assert "\n" not in str(caught.value)

    def test_other_formats_under_an_images_name(self, tmp_path):
        """PostScript would be handed to Ghostscript."""
        (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        with pytest.raises(DataError, match=r"a\.png.*cannot identify"):
            open_dataset(tmp_path, [NCHW])

    def test_what_takes_no_images(self, tmp_path):
        with pytest.raises(DataError, match="no such folder"):
            open_dataset(ImageFolder(tmp_path / "missing"), [NCHW])
        with pytest.raises(DataError, match="no images in this folder"):
            open_dataset(ImageFolder(tmp_path), [NCHW])
        save(tmp_path, "a.png", colors())
        with pytest.raises(DataError, match="images for a model with the inputs x, x"):
            open_dataset(tmp_path, [NCHW, NCHW])
        with pytest.raises(DataError, match="4 dimensions, 'x' has 2"):
            open_dataset(tmp_path, [TensorInfo("x", "float", ("N", 3))])
        with pytest.raises(DataError, match="images for an input of string"):
            open_dataset(tmp_path, [TensorInfo("x", "string", ("N", 3, None, None))])

    def test_without_pillow(self, tmp_path, monkeypatch):
        save(tmp_path, "a.png", colors())
        for name in ("PIL", "PIL.Image"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(DependencyError, match=r"pip install 'bnopt\[images\]'"):
            open_dataset(tmp_path, [NCHW])


class TestModes:
    def test_gray_becomes_rgb(self, tmp_path):
        save(tmp_path, "a.png", [[7, 9]])
        assert only(tmp_path, NONE).tolist() == [[[7, 9]]] * 3

    def test_black_and_white(self, tmp_path):
        save(tmp_path, "a.png", [[0, 255]], "1")
        assert only(tmp_path, NONE, GRAY).tolist() == [[[0, 255]]]

    def test_alpha_is_dropped(self, tmp_path):
        save(tmp_path, "a.png", [[[*RGB, 0], [*RGB, 128]]])
        assert only(tmp_path, NONE)[:, 0].T.tolist() == [list(RGB)] * 2
        Image.fromarray(np.array([[[9, 0]]], np.uint8)).save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as saved:
            assert saved.mode == "LA"
        assert only(tmp_path, NONE).reshape(-1).tolist() == [9, 9, 9]

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128, 255])])
    def test_palettes_give_their_colors(self, tmp_path, transparency):
        image = Image.new("P", (3, 1))
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        image.putdata([0, 1, 2])
        image.save(
            tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency})
        )
        with Image.open(tmp_path / "a.png") as saved:
            assert saved.mode == "P"
        found = only(tmp_path, NONE)[:, 0].T
        assert found.tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]

    def test_cmyk(self, tmp_path):
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
        np.testing.assert_allclose(only(tmp_path, NONE)[:, 4, 4], [0, 255, 255], atol=3)
        np.testing.assert_allclose(only(tmp_path, NONE, GRAY)[0, 4, 4], 179, atol=3)

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_sixteen_bits(self, tmp_path, name):
        Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(tmp_path / name)
        assert only(tmp_path, NONE, GRAY).tolist() == [[[0, 1, 128, 255]]]
        assert only(tmp_path, NONE)[2].tolist() == [[0, 1, 128, 255]]

    def test_sixteen_bits_of_a_portable_graymap(self, tmp_path):
        (tmp_path / "a.ppm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 257, 65535))
        assert only(tmp_path, NONE, GRAY).tolist() == [[[1, 255]]]

    def test_sixteen_bits_of_color(self, tmp_path):
        """Written by hand: Pillow cannot."""

        def chunk(kind: bytes, data: bytes) -> bytes:
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        pixels = b"\0" + struct.pack(">3H", *(value * 257 for value in RGB))
        header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(pixels))
            + chunk(b"IEND", b"")
        )
        assert only(tmp_path, NONE).reshape(-1).tolist() == list(RGB)

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_thirty_two_bits_have_no_range(self, tmp_path, dtype):
        Image.fromarray(np.array([[0, 1]], dtype)).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=r"a\.tif.*32 bits"):
            only(tmp_path, NONE)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, tmp_path, orientation):
        """EXIF 2.3, tag 0x0112: where row 0 and column 0 of what is stored belong."""
        upright = colors(4, 6)
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(tmp_path, "a.png", stored, exif=exif)
        np.testing.assert_array_equal(only(tmp_path, NONE, NHWC), upright)

    def test_a_large_picture_is_refused(self, tmp_path, monkeypatch):
        save(tmp_path, "a.png", colors())
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
        with pytest.raises(DataError, match=r"a\.png.*exceeds limit"):
            only(tmp_path, NONE)


class TestParse:
    def test_every_key(self):
        found = Preprocess.parse(
            "resize=256, crop=224x192, channels=BGR, scale=1/255, mean=0.5:1/4:1, std=2,"
            "layout=nhwc, interpolation=bicubic"
        )
        assert found == Preprocess(
            256, (224, 192), "bgr", 1 / 255, (0.5, 0.25, 1.0), (2.0,), "nhwc", "bicubic"
        )

    def test_presets_and_what_is_changed_in_them(self):
        assert Preprocess.parse("imagenet") == PRESETS["imagenet"]
        changed = Preprocess.parse("imagenet,crop=192,resize=224")
        assert (changed.resize, changed.crop) == (224, 192)
        assert changed.mean == PRESETS["imagenet"].mean
        assert Preprocess.parse("none").keeps_values

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "presets are imagenet, caffe, tf, none"),
            ("image", "presets are .*keys resize, crop, channels"),
            ("crop=2,imagenet", "a preset comes first"),
            ("size=3", "one of the keys resize, crop"),
            ("crop=2,", "expected key=value"),
            ("crop=2,crop=3", "crop is given twice"),
            ("crop=big", "expected N or WIDTHxHEIGHT"),
            ("crop=3x", "expected N or WIDTHxHEIGHT"),
            ("resize=0", "resize must be"),
            ("resize=4x-4", "resize must be"),
            ("scale=1/0", "expected a number or a fraction"),
            ("scale=nan", "scale must be finite"),
            ("scale=1e999", "scale must be finite"),
            ("mean=1:2", "mean takes one or three values, not 2"),
            ("channels=gray,mean=1:2:3", "mean takes one value, not 3"),
            ("mean=inf", "mean must be finite"),
            ("std=0", "std must not be 0"),
            ("std=1:0:1", "std must not be 0"),
            ("channels=rgba", "channels is one of auto, rgb, bgr, gray, not 'rgba'"),
            ("layout=chw", "layout is one of auto, nchw, nhwc"),
            ("interpolation=lanczos", "interpolation is one of bilinear, bicubic, nearest"),
        ],
    )
    def test_what_is_wrong_is_told(self, text, reason):
        with pytest.raises(UsageError, match=reason) as caught:
            Preprocess.parse(text)
        assert "\n" not in str(caught.value)

    def test_made_by_hand(self):
        with pytest.raises(UsageError, match="crop must be"):
            Preprocess(crop=(1, 2, 3))

    def test_it_is_picklable(self):
        folder = ImageFolder("photos", PRESETS["caffe"])
        assert pickle.loads(pickle.dumps(folder)) == folder
