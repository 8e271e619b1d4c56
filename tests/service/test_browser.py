# SPDX-License-Identifier: Apache-2.0
"""examples/order-status in a real browser: Debian's Chromium, driven through its own driver."""
import urllib.parse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from harness import ROOT

EXAMPLE = ROOT / "examples" / "order-status"
SECONDS = 20


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    # Without its sandbox, which root and most containers cannot have: it only sees our own page.
    options.binary_location = "/usr/bin/chromium"
    for flag in ("headless=new", "disable-gpu", "no-first-run", "disable-background-networking",
                 "no-sandbox", "disable-component-update", "disable-sync", "disable-dev-shm-usage",
                 f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument("--" + flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def text_of(browser, id):
    found = browser.find_elements(By.ID, id)
    return found[0].text if found else ""


def wait_text(browser, id, wanted):
    WebDriverWait(browser, SECONDS).until(
        lambda _: wanted in text_of(browser, id),
        f"{id} says {text_of(browser, id)!r} and not {wanted!r}")


def ship(database, status):
    """As the example's README has it: one transaction of an ordinary application."""
    session = database.connect()
    with session, session.cursor() as cursor:
        cursor.execute("update shop.orders set status = %s where order_id = 42", (status,))
        cursor.execute("select switchboard.publish('order:42', orders.frame(o))"
                       "  from shop.orders as o where o.order_id = 42")
    session.close()


def test_the_page_shows_an_order_live_and_misses_nothing_while_the_server_is_away(
        database, start_server, browser):
    database.execute((EXAMPLE / "orders.sql").read_text())
    server = start_server(database, routes="orders", node_name="browser")
    page = (EXAMPLE / "orders.html").as_uri()
    browser.get(page + "?" + urllib.parse.urlencode({"server": server.url(), "orders": "42"}))
    wait_text(browser, "state", "open")
    wait_text(browser, "order-42", "received")
    ship(database, "packed")
    wait_text(browser, "order-42", "packed")
    server.stop()
    wait_text(browser, "state", "away")
    ship(database, "shipped")
    ship(database, "delivered")
    start_server(database, routes="orders", node_name="browser", port=server.port)
    wait_text(browser, "order-42", "delivered")
    history = text_of(browser, "history")
    assert history.count('"shipped"') == 1, history  # what it was not there for, once


def test_a_browser_may_compress_what_it_sends(database, start_server, browser, tmp_path):
    database.execute("""
        create schema app;
        create function app.size(event switchboard.event) returns switchboard.delivery
        language sql begin atomic
            select switchboard.reply(jsonb_build_object('bytes', octet_length(event.raw_body),
                                                        'pad', repeat('y', 5000)));
        end""")
    server = start_server(database, routes="app", compression="on", output_frame_bytes=700)
    page = tmp_path / "page.html"
    page.write_text("<p>A page that may open sockets.</p>")
    browser.get(page.as_uri())
    browser.set_script_timeout(SECONDS)
    extensions, first, second, bytes_in = browser.execute_async_script("""
        const [url, done] = arguments, socket = new WebSocket(url), got = [];
        const text = JSON.stringify({action: "size", pad: "x".repeat(500000)});
        socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            if (message.bytes) got.push(message);
            if (got.length < 2) socket.send(text);
            else done([socket.extensions, got[0], got[1], text.length]);
        };
        socket.onclose = (event) => done([event.code + event.reason, null, null, 0]);
    """, server.url())
    assert extensions == "permessage-deflate"
    assert first == second == {"bytes": bytes_in, "pad": "y" * 5000}
