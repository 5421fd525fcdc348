"""Cleaning: tax numbers by form and check digit, region levels from an address in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.addresses import Levels, chinese, filled
from agents.invoices import _SIGNS, check, doubts
from schemas.orders import Invoice, Receiver

# --- tax numbers ----------------------------------------------------------------------------------


def why(number: str, currency: str | None = "CNY") -> str:
    said = dict(doubts(Invoice(title="青柚", tax_number=number), currency))
    return said.get("invoice.tax_number", "")


@pytest.mark.parametrize("number", ["91350100M000100Y43", "9135 0100-m000100y43"])
def test_a_social_credit_code_with_its_check_digit_is_believed(number: str):
    assert why(number) == ""


@given(st.text(_SIGNS, min_size=17, max_size=17), st.integers(0, 16), st.sampled_from(_SIGNS))
def test_any_one_sign_that_is_wrong_is_found(body: str, place: int, sign: str):
    number = body + _SIGNS[check(body + "0")]
    assert why(number) == ""
    other = number[:place] + sign + number[place + 1 :]

    if other != number:
        assert why(other) == "its check digit is wrong"


@given(st.text(_SIGNS, min_size=17, max_size=17), st.integers(0, 15))
def test_two_signs_that_are_swapped_are_found(body: str, place: int):
    number = body + _SIGNS[check(body + "0")]
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]

    if swapped != number:
        assert why(swapped) == "its check digit is wrong"


@pytest.mark.parametrize(
    ("number", "currency", "said"),
    [
        ("91350100M000100Y44", "CNY", "check digit"),
        ("91350100M00010OY43", "CNY", "'O' does not occur"),
        ("12345", "CNY", "5 signs"),
        ("350100100000001", "CNY", ""),  # from before 2015: no check
        ("9135****00100Y43", "CNY", ""),  # masked
        ("DE136695976", "EUR", ""),
        ("DE036695976", "EUR", "no VAT number of DE"),
        ("FR40303265045", "EUR", ""),
        ("NL123456789B01", "EUR", ""),
        ("12-3456789", "USD", ""),  # another country's
    ],
)
def test_each_kind_of_number_by_its_own_rule(number: str, currency: str, said: str):
    found = why(number, currency)

    assert (said in found) if said else found == ""


def test_a_tax_number_without_a_title_cannot_be_issued():
    assert doubts(Invoice(tax_number="91350100M000100Y43"), "CNY") == [
        ("invoice.title", "there is a tax number and no title")
    ]
    assert doubts(Invoice(title="李梅"), "CNY") == []


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "levels"),
    [
        (
            "浙江省杭州市西湖区文新街道文三路 90 号",
            Levels("浙江省", "杭州市", "西湖区", "文新街道"),
        ),
        ("北京市朝阳区建国路 1 号", Levels("北京市", "北京市", "朝阳区")),
        ("北京市北京市朝阳区建国路", Levels("北京市", "北京市", "朝阳区")),
        ("湖北省荆州市沙市区北京路", Levels("湖北省", "荆州市", "沙市区")),
        ("江苏省苏州市昆山市花桥镇", Levels("江苏省", "苏州市", "昆山市", "花桥镇")),
        (
            "新疆维吾尔自治区伊犁哈萨克自治州伊宁市",
            Levels("新疆维吾尔自治区", "伊犁哈萨克自治州", "伊宁市"),
        ),
        ("香港特别行政区油尖旺区弥敦道", Levels("香港特别行政区", "香港特别行政区", "油尖旺区")),
        ("杭州市西湖区文三路", Levels(None, "杭州市", "西湖区")),
        ("浙江省杭州市西湖区***", Levels("浙江省", "杭州市", "西湖区")),
        ("浙江省杭州市***区", Levels("浙江省", "杭州市")),
        ("***", Levels()),
        ("文三路 90 号", Levels()),
        ("1600 Amphitheatre Parkway", Levels()),
        ("$$cipher$1$$", Levels()),
        ("", Levels()),
    ],
)
def test_what_an_address_says_of_its_region(address: str, levels: Levels):
    assert chinese(address) == levels


def test_the_address_stays_as_it_came_and_what_was_said_is_not_overwritten():
    receiver = Receiver(country="CN", province="浙江", address="浙江省杭州市西湖区文三路")

    found = filled(receiver, chinese)

    assert (found.province, found.city, found.district) == ("浙江", "杭州市", "西湖区")
    assert found.address == receiver.address


def test_where_the_words_contradict_what_was_said_nothing_is_taken_from_them():
    receiver = Receiver(province="江苏省", address="浙江省杭州市西湖区文三路")

    assert filled(receiver, chinese) == receiver


def test_an_address_of_another_country_is_left_alone():
    receiver = Receiver(country="US", address="浙江省杭州市西湖区")

    assert filled(receiver, chinese) == receiver


@given(st.text(max_size=60))
def test_whatever_stands_there_every_level_is_a_part_of_it(address: str):
    for level in chinese(address):
        assert level is None or level in address
