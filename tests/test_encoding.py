"""Bytes become the right text or an error that names the byte."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.encoding import check_text, decode, encoding_of_stream
from analect.errors import ReadError

FRENCH = "La fenêtre était fermée à clé, l'hôtel était complet et nous avons dîné très tôt près de la forêt."
GERMAN = "Für schöne Mädchen wäre das Frühstück größer; die Bücher gehören den Schülern, die täglich üben."
RUSSIAN = "В начале июля, в чрезвычайно жаркое время, под вечер один молодой человек вышел из своей каморки."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
SAMPLES = [
    ("cp1252", FRENCH),
    ("cp1252", "Nom;Prénom;Ville\nDupont;Éloïse;Nîmes\nLefèvre;André;Besançon\n"),
    ("latin-1", "Très bien, à bientôt."),
    ("cp1252", GERMAN),
    ("cp1252", "Die Straße führt über die Brücke."),
    ("cp1252", "It’s a dog’s life, isn’t it? “Yes” – don’t ask."),
    ("cp1250", "Książka leży na stole, a dziewczyna śpi. Proszę przyjść później."),
    ("iso8859-2", "Dnes večer půjdeme do divadla, protože máme rádi české hry."),
    ("cp1251", RUSSIAN),
    ("cp1251", "Привет, мир"),
    ("koi8-r", "Имя;Город\nИван;Москва\nОльга;Казань\n"),
    ("cp1253", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια."),
    ("cp1255", "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם."),
    ("shift_jis", JAPANESE),
    ("shift_jis", "これは日本語の文章です。"),
    ("euc_jp", JAPANESE),
    ("iso2022_jp", JAPANESE),
    ("gb18030", "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。"),
    ("cp949", "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."),
]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")))
def test_utf8_comes_back(text: str) -> None:
    assert decode(text.encode("utf-8")) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(encoding: str) -> None:
    assert decode("Größe 日本\r\n".encode(encoding)) == "Größe 日本\n"


@pytest.mark.parametrize("mark", [b"\xfe\xff", b"\x00\x00\xfe\xff"])
def test_big_endian_marks_are_known(mark: bytes) -> None:
    encoding = "utf-16-be" if len(mark) == 2 else "utf-32-be"
    assert decode(mark + "Größe".encode(encoding)) == "Größe"


@pytest.mark.parametrize(("encoding", "text"), SAMPLES)
def test_legacy_encodings_are_decoded_right(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "encoding", ["cp1252", "cp850", "cp1250", "iso8859-2", "cp1251", "koi8-r", "shift_jis", "gb18030"]
)
@pytest.mark.parametrize("text", [FRENCH, GERMAN, RUSSIAN, JAPANESE, "Příliš žluťoučký kůň úpěl ďábelské ódy"])
def test_parts_of_legacy_texts_are_right_or_refused(encoding: str, text: str) -> None:
    """A wrong guess must not happen, however little there is to go by."""
    chance = random.Random(7)
    words = text.split() if " " in text else list(text)
    for _ in range(60):
        part = " ".join(chance.choices(words, k=chance.randint(1, 6)))
        try:
            data = part.encode(encoding)
        except UnicodeEncodeError:
            continue
        try:
            decoded = decode(data)
        except ReadError:
            continue
        assert decoded == part


def test_what_a_few_bytes_do_not_tell_is_refused_with_offset_and_value() -> None:
    with pytest.raises(ReadError, match=r"byte 0xe9 at offset 3 is not UTF-8.*save the file as UTF-8"):
        decode("Caf\xe9 cr\xe8me".encode("latin-1"))


def test_a_declared_charset_comes_after_utf8_and_before_a_guess() -> None:
    assert decode("Caf\xe9 cr\xe8me".encode("latin-1"), declared="ISO-8859-1") == "Café crème"
    assert decode("Café crème".encode(), declared="ISO-8859-1") == "Café crème"
    assert decode("“x”".encode("cp1252"), declared="latin1") == "“x”"
    with pytest.raises(ReadError):
        decode(b"Caf\xe9 cr\xe8me", declared="no-such-charset")
    with pytest.raises(ReadError):
        decode(b"Caf\xe9 cr\xe8me", declared="rot13")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ab\x00cd", "NUL character at character 2"),
        (b"\x89PNG\r\n\x1a\n", "control byte 0x1a at offset 6"),
        (b"\xff\xfea", "byte 0x61 at offset 2 is not utf-16"),
        (b"plain \xc3\x28", "byte 0xc3 at offset 6"),
        (bytes(range(128, 256)), "byte 0x80 at offset 0"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        decode(data)


def test_newlines_are_unified() -> None:
    assert decode(b"a\r\nb\rc\n\r\n") == "a\nb\nc\n\n"


@pytest.mark.parametrize(
    ("text", "message"), [("a\0", "NUL character at character 1"), ("ab\ud83d", r"U\+D83D at character 2")]
)
def test_check_text_names_what_cannot_be_kept(text: str, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        check_text(text)
    check_text("😀 fine")


def test_a_stream_is_decoded_like_its_bytes() -> None:
    padding = b"plain ascii\n" * 200_000
    assert encoding_of_stream(io.BytesIO(padding + "é".encode())) == "utf-8"
    assert encoding_of_stream(io.BytesIO("é".encode("utf-16"))) == "utf-16"
    assert encoding_of_stream(io.BytesIO(padding + FRENCH.encode("cp1252"))) == "cp1252"


@pytest.mark.parametrize("lead", [b"", b"x" * ((1 << 20) - 1), "é".encode() * (1 << 20)])
def test_a_stream_that_is_no_text_names_the_offset(lead: bytes) -> None:
    with pytest.raises(ReadError, match=f"byte 0xc3 at offset {len(lead)} "):
        encoding_of_stream(io.BytesIO(lead + b"\xc3\x28\x01"))
