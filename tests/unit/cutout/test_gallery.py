from html.parser import HTMLParser

from cutout.presentation.gallery import MARK, Entry, render


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes.get(name) for seen, attributes in self.seen if seen == tag]


def test_a_cutout_is_shown_beside_its_original() -> None:
    page = Tags(render([Entry("cup.jpg", "originals/cup.jpg", "cutout", cutout="cup.png", seconds=2.345)], "A note."))

    assert page.attributes("img", "src") == ["originals/cup.jpg", "cup.png"]
    assert page.attributes("img", "alt") == ["cup.jpg as uploaded", "cup.jpg without its background"]
    assert "cutout, 2.3 s" in page.text
    assert "1 of 1 upload became a cutout. A note." in page.text


def test_an_upload_without_a_cutout_shows_its_reason_instead() -> None:
    entry = Entry("tiny.jpg", "originals/tiny.jpg", "letter", seconds=0.5, reason="resolution_too_low: 63 < 64")
    page = Tags(render([entry], ""))

    assert page.attributes("img", "src") == ["originals/tiny.jpg"]
    assert "resolution_too_low: 63 < 64" in page.text
    assert "letter, 0.5 s" in page.text


def test_names_cannot_break_out_of_the_page() -> None:
    name = "\"><script>alert('1')</script>&amp;.jpg"
    page = Tags(render([Entry(name, f"originals/{name}", name, reason=name)], name))

    assert "script" not in [tag for tag, _ in page.seen]
    assert page.attributes("img", "alt") == [f"{name} as uploaded"]
    assert page.text.count(name) == 3  # heading, outcome, reason
    assert any(text.endswith(name) for text in page.text if text != name)  # the note


def test_addresses_are_percent_encoded_and_stay_below_the_page() -> None:
    entry = Entry("a", "originals/50% off #1?é.jpg", "cutout", cutout="javascript:alert(1).png")
    page = Tags(render([entry], ""))

    assert page.attributes("img", "src") == [
        "originals/50%25%20off%20%231%3F%C3%A9.jpg",
        "javascript%3Aalert%281%29.png",
    ]
    assert page.attributes("a", "href") == page.attributes("img", "src")


def test_the_page_says_what_wrote_it_and_needs_nothing_else() -> None:
    page = render([Entry("a.jpg", "originals/a.jpg", "cutout", cutout="a.png")], "")

    assert MARK in page
    assert "://" not in page
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in Tags(page).seen)
    assert Tags(page).attributes("html", "lang") == ["en"]
