"""A headless Chromium (Debian's), and pages in it whose every request, console message and error is kept."""
import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

WIDTHS = {1280: 900, 390: 844}  # a desktop, a phone


@contextmanager
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page with settings of its own. wrong: what a careful page never does."""

    def __init__(self, browser, url, width=1280, scheme="light"):
        self.url, self.wrong = url, []
        self.context = browser.new_context(viewport={"width": width, "height": WIDTHS.get(width, 800)}, color_scheme=scheme, locale="en-GB",
                                           device_scale_factor=1 if width > 600 else 2, has_touch=width < 600)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60000)
        self.page.on("console", lambda m: self.wrong.append(f"console {m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        self.page.on("request", lambda r: self.asked(r.url))
        self.page.goto(url)

    def asked(self, url):
        if not url.startswith((self.url, "data:")):
            self.wrong.append(f"request to {url}")

    def text(self, selector):
        return self.page.inner_text(selector)

    def wait(self, expression, arg=None):
        """Until a JavaScript function of arg is true; what it returned."""
        return self.page.wait_for_function(expression, arg=arg).json_value()

    def close(self):
        self.context.close()
