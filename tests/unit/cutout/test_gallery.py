from html.parser import HTMLParser

from cutout.presentation.gallery import MARK, Entry, named_files, render


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


def test_while_the_uploads_are_in_progress_the_page_says_so_and_renews_itself() -> None:
    done = Entry("a.jpg", "originals/a.jpg", "cutout", cutout="a.png", seconds=1)
    page = Tags(render([done, Entry("b.jpg", "originals/b.jpg", "")], "A note.", working=True))

    assert "Working: 1 of 2 uploads done so far. This page renews itself. A note." in page.text
    assert "in progress" in page.text
    assert ("p", {"class": "outcome waits"}) in page.seen
    assert ("p", {"class": "outcome bad"}) not in page.seen
    assert "refresh" in page.attributes("meta", "http-equiv")


def test_when_all_have_ended_the_page_stays_as_it_is() -> None:
    page = Tags(render([Entry("a.jpg", "originals/a.jpg", "letter")], ""))

    assert "refresh" not in page.attributes("meta", "http-equiv")
    assert ("p", {"class": "outcome bad"}) in page.seen


def test_a_preview_stands_for_an_original_that_browsers_do_not_show() -> None:
    page = Tags(render([Entry("a.tiff", "originals/a.tiff", "letter", preview="previews/a.webp")], ""))

    assert page.attributes("img", "src") == ["previews/a.webp"]
    assert page.attributes("a", "href") == ["originals/a.tiff"]


def test_a_sentence_stands_for_an_original_without_a_preview() -> None:
    page = Tags(render([Entry("a.heic", "originals/a.heic", "letter", no_preview="There is none.")], ""))

    assert page.attributes("img", "src") == []
    assert page.attributes("a", "href") == ["originals/a.heic"]
    assert "There is none. " in page.text


def test_the_page_names_the_files_that_belong_to_it() -> None:
    entries = [
        Entry("50% é.tiff", "originals/50% é.tiff", "cutout", cutout="it's & é.png", preview="previews/50% é.webp"),
        Entry('href="out.jpg"', "originals/b.heic", "letter", reason='src="x"', no_preview="None."),
    ]

    assert named_files(render(entries, 'href="note"')) == {
        "originals/50% é.tiff",
        "previews/50% é.webp",
        "it's & é.png",
        "originals/b.heic",
    }
