"""Which key is explained."""

from tests.integration.console.conftest import Browser


def test_a_link_explains_just_its_key_and_what_is_typed_has_no_spaces_around_it(browser: Browser) -> None:
    assert 'hx-get="/explain/answer?key=+a.jpg+"' in browser.get("/explain", key=" a.jpg ").text
    assert 'hx-get="/explain/answer?key=a.jpg"' in browser.get("/explain", asked=" a.jpg ").text
    assert "hx-get" not in browser.get("/explain", asked=" ").text.partition("<main")[2]
