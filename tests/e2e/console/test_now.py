"""The page Now, in a browser."""

from playwright.sync_api import Page, expect


def test_the_first_page_is_now(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")
