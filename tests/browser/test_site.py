"""The site as a reader meets it, at a desk and on a phone. Needs build/site: make site.

Run: pytest tests/browser/test_site.py
"""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
PAGES = sorted(
    str(file.relative_to(SITE)) for file in SITE.rglob("*.html") if "_static" not in file.parts
)
READ = [name for name in PAGES if not name.startswith("docs/reference/api/")]
"""All but the modules' pages, which are made by one template: of these, one is looked at."""
LOOKED_AT = READ + [name for name in PAGES if name.endswith("nasutils.spaces.darts.html")]
TEXT = 75
"""Characters a line that are comfortable to read."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAGES, reason="there is no build/site: make site"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(params=[1280, 390], ids=["desk", "phone"])
def reader(request, page):
    page.set_viewport_size({"width": request.param, "height": 844})
    return page


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_stays_within_its_host_and_the_screen(name, reader, address):
    asked, said = [], []
    reader.on("request", lambda request: asked.append(request.url))
    reader.on(
        "console",
        lambda message: (
            said.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    reader.on("pageerror", lambda error: said.append(str(error)))
    reader.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    assert reader.goto(f"{address}/{name}", wait_until="networkidle").ok
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert said == []
    width = reader.viewport_size["width"]
    assert reader.evaluate("document.documentElement.scrollWidth") <= width
    beyond = "(c => c.scrollWidth - c.clientWidth)(document.querySelector('.content'))"
    assert reader.evaluate(beyond) <= 0, "what only scrolling the whole text would show"
    images = reader.evaluate("[...document.images].map(i => [i.alt, i.naturalWidth, i.src])")
    assert [src for alt, pixels, src in images if len(alt.strip()) < 10 or not pixels] == []


@pytest.mark.parametrize("name", [name for name in READ if name.startswith("notebooks/")])
def test_a_notebook_is_an_article(name, page, address):
    page.set_viewport_size({"width": 1280, "height": 844})
    page.goto(f"{address}/{name}")
    assert page.locator("article img").count() >= 5
    assert page.locator("article .katex").count() >= 5
    assert page.locator("article details[open]").count() == 0
    folded = page.locator("article summary .collapsed").all_inner_texts()
    assert {"Code: imports", "Code: draws the figure"} < {*folded}
    text = page.locator("article").inner_text()
    assert not re.search(r"\$[^$\n]*\\[a-z]+|VBox\(|IntSlider\(|FloatSlider\(|\d%\|", text)
    plain = "[...document.querySelectorAll('article p')].filter(p => !p.querySelector('.katex'))"
    paragraph = f"{plain}.sort((a, b) => b.innerText.length - a.innerText.length)[0]"
    lines = (
        "Math.round(p.getBoundingClientRect().height / parseFloat(getComputedStyle(p).lineHeight))"
    )
    length, count = page.evaluate(f"(p => [p.innerText.length, {lines}])({paragraph})")
    assert count > 2 and 0.6 * TEXT < length / count < 1.4 * TEXT


def test_a_wide_table_scrolls_in_its_own_box(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/figures/README.html")
    measured = "t => [t.scrollWidth, t.clientWidth, getComputedStyle(t).overflowX]"
    widths = page.evaluate(f"[...document.querySelectorAll('.table-wrapper')].map({measured})")
    wide = [style for inner, outer, style in widths if inner > outer]
    assert wide and set(wide) == {"auto"}


def test_tables_have_the_room_beside_the_text(page, address):
    page.set_viewport_size({"width": 1280, "height": 844})
    page.goto(f"{address}/figures/README.html")
    widths = page.evaluate(
        "['article p', '.table-wrapper'].map(s => document.querySelector(s).clientWidth)"
    )
    assert widths[0] < 0.85 * widths[1]


def test_the_numbers_of_a_table_stay_on_one_line(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/notebooks/sparsification.html")
    toy = page.locator("article table", has_text="autograd").first
    heights = toy.locator("tbody tr").evaluate_all("rows => rows.map(row => row.clientHeight)")
    assert len(heights) == 5 and max(heights) < 40


def test_the_contents_list_every_page_once(page, address):
    page.goto(f"{address}/README.html")
    links = page.locator(".sidebar-tree a.reference")
    listed = links.evaluate_all("links => links.map(link => link.href)")
    assert len(listed) > 15 and len({*listed}) == len(listed)


def test_every_link_within_the_site_leads_somewhere():
    dead = [
        f"{name}: {link}"
        for name in PAGES
        for link in set(re.findall(r'(?:href|src)="([^"]+)"', (SITE / name).read_text()))
        if leads_astray(SITE / name, link)
    ]
    assert PAGES and dead == []


def leads_astray(file, link):
    """Whether a link of a page names a file of the site that is not there."""
    path, _ = urldefrag(link)
    if not path or urlsplit(path).scheme:
        return False
    return not (file.parent / unquote(path.partition("?")[0])).exists()
