"""What is counted after an event was cancelled under fire is noticed where it is wrong."""

from email.message import EmailMessage

from benchmarks.cancelling import Cancelled, Sold, count_mails, unpaid
from tests.post_office import PostOffice


def test_money_that_went_back_short_twice_or_never_is_noticed() -> None:
    sold = Sold(refunded=["before"], partly=["partly"])
    good = [("once", 500, 1, 500), ("before", 500, 1, 500), ("partly", 500, 2, 500)]
    assert unpaid(good, sold) == []
    wrong = [("short", 500, 1, 499), ("never", 500, 0, 0), ("twice", 500, 2, 1_000)]
    wrong += [("in pieces", 500, 2, 500), ("partly", 500, 3, 500)]
    assert unpaid(wrong, sold) == [order_id for order_id, *_ in wrong]


def test_letters_that_are_missing_strange_or_sent_anew_are_noticed() -> None:
    sold = Sold(holder_by_order={"o1": "ann@x.org", "o2": "ben@x.org", "o3": "cat@x.org"})
    post = PostOffice()
    for to, message_id in (
        ("ann@x.org", "<1>"),
        ("ann@x.org", "<1>"),  # the same letter again: no harm
        ("ben@x.org", "<2>"),
        ("ben@x.org", "<3>"),
        ("dan@x.org", "<4>"),
    ):
        letter = EmailMessage()
        letter["Subject"], letter["Message-ID"] = "Cancelled: Gone", message_id
        post.letters.append((to, letter))
    found = Cancelled(3, 0)
    count_mails(sold, post, found)
    assert (found.mailed, found.mailed_again) == (3, 2)
    assert (found.unmailed, found.strangers, found.twice) == (
        ["cat@x.org"],
        ["dan@x.org"],
        ["ben@x.org"],
    )
