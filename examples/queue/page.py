"""comet's server with one page more: /ticker, which shows the channel of that name."""

from pathlib import Path

from comet import create_app


app = create_app()
page = Path(__file__).with_name("ticker.html").read_text()


@app.get("/ticker")
def ticker():
    return page
