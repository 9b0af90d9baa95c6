"""The FAQ in the admin."""

import html
import re

import pytest
from django.test import Client

from support.pages.help import FAQ_PATH, read_faq
from tests.pages import page

URL = "/admin/support/help/"


def test_the_faq_answers_the_questions_of_the_migration(admin_client: Client) -> None:
    text = page(admin_client, URL)
    for question in (
        "Why is my OpenHands balance $0?",
        "Can credits be transferred from one balance to the other?",
        "Do credits expire?",
        "One balance is empty. Does the other one pay?",
        "a roll-back",
        "A key of the old system is refused",
        "Friend keys are refused",
    ):
        assert question in text


def test_every_link_leads_to_a_screen(admin_client: Client) -> None:
    addresses = set(re.findall(r'class="text-link" href="([^"]+)"', admin_client.get(URL).content.decode()))
    assert len(addresses) == len(set(re.findall(r"\(screen:\w+\)", FAQ_PATH.read_text())))
    for address in addresses:
        assert admin_client.get(html.unescape(address)).status_code == 200


def test_every_answer_leads_to_the_screen_that_does_it(admin_client: Client) -> None:
    content = admin_client.get(URL).content.decode()
    assert "(screen:" not in content
    without = [
        answer.question
        for answer in read_faq(FAQ_PATH.read_text())
        if not any('class="text-link"' in paragraph for paragraph in answer.paragraphs)
    ]
    assert without == []


def test_text_is_escaped() -> None:
    (answer,) = read_faq("# T\n\n## Q?\n\nA <b> & `x<y` **bold**\nnext line.\n\nLast.")
    assert answer.paragraphs == ("A &lt;b&gt; &amp; <code>x&lt;y</code> <strong>bold</strong> next line.", "Last.")


@pytest.mark.django_db
def test_strangers_do_not_read_it(client: Client) -> None:
    assert client.get(URL).status_code == 302
