"""Settlement files of our own making, in the platforms' shapes: what tests write them with."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

ALIPAY = (
    "账务流水号", "业务流水号", "商户订单号", "商品名称", "发生时间", "对方账号", "收入金额（+元）",
    "支出金额（-元）", "账户余额（元）", "交易渠道", "业务类型", "备注", "业务描述",
    "业务账单来源", "业务基础订单号", "业务订单号",
)  # fmt: skip
DOUYIN = (
    "动账时间", "动帐流水号", "动账方向", "动账金额", "动账账户", "动账场景", "计费类型",
    "子订单号", "订单号", "售后编号", "下单时间", "商品ID", "商品名称", "达人ID", "达人名称",
    "订单类型", "订单实付应结", "运费实付", "实际平台补贴", "实际达人补贴", "订单退款",
    "平台服务费", "佣金", "渠道分成", "招商服务费", "其他分成", "备注",
)  # fmt: skip
SHOPIFY = (
    "Transaction Date", "Type", "Order", "Card Brand", "Card Source", "Payout Status",
    "Payout Date", "Payout ID", "Available On", "Amount", "Fee", "Net", "Checkout",
    "Payment Method Name", "Presentment Amount", "Presentment Currency", "Currency", "VAT",
)  # fmt: skip
AMAZON = (
    "settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date",
    "total-amount", "currency", "transaction-type", "order-id", "merchant-order-id",
    "adjustment-id", "shipment-id", "marketplace-name", "amount-type", "amount-description",
    "amount", "fulfillment-id", "posted-date", "posted-date-time", "order-item-code",
    "merchant-order-item-id", "merchant-adjustment-item-id", "sku", "quantity-purchased",
    "promotion-id",
)  # fmt: skip

Row = Mapping[str, str]


class Money(NamedTuple):
    """One movement of an order's money, as the shop sees it, in main units."""

    order: str
    paid: str = "0.00"
    refunded: str = "0.00"
    fee: str = "0.00"
    at: str = "2026-11-20 10:00:00"
    id: str = ""


def alipay(*movements: Money, **more: str) -> str:
    """The table with the remarks around it; a payment, a refund and a fee are rows of their own."""
    body = [row for nth, each in enumerate(movements, 1) for row in _alipay(nth, each, more)]
    return (
        "#支付宝账务明细查询\r\n#账号：[20880000000000000156]\r\n"
        "#起始日期：[2026年11月01日 00:00:00]   终止日期：[2026年12月01日 00:00:00]\r\n"
        "#------------------------账务明细列表------------------------\r\n"
        + a_csv(ALIPAY, body)
        + "#------------------------账务明细列表结束--------------------\r\n"
        "#收入合计：2笔，共199.00元\r\n"
    )


def _alipay(nth: int, each: Money, more: Row) -> Iterable[Row]:
    base = {
        "商户订单号": f"T200P{each.order}\t", "发生时间": each.at, "对方账号": "mei***@example.com",
        "交易渠道": "支付宝", "账户余额（元）": "1,000.00",
    } | more  # fmt: skip
    id_ = each.id or f"2026112022001488{nth:012}"
    for kind, amount in (("交易付款", each.paid), ("交易退款", each.refunded), ("收费", each.fee)):
        if number(amount):
            column = "收入金额（+元）" if kind == "交易付款" else "支出金额（-元）"
            sign = "" if kind == "交易付款" else "-"
            yield {
                "账务流水号": f"{id_}{len(kind)}{kind == '收费':d}\t", "业务类型": kind,
                column: f"{sign}{amount}",
            } | base  # fmt: skip


def douyin(*movements: Money) -> list[Row]:
    found = []
    for nth, each in enumerate(movements, 1):
        net = number(each.paid) - number(each.refunded) - number(each.fee)
        found.append({
            "动账时间": each.at, "动帐流水号": each.id or f"'7{nth:018}",
            "动账方向": "入账" if net >= 0 else "出账", "动账金额": f"{abs(net):.2f}",
            "动账账户": "聚合账户", "动账场景": "货款结算入账", "订单号": f"'{each.order}",
            "订单实付应结": each.paid, "运费实付": "0.00", "订单退款": f"-{each.refunded}",
            "平台服务费": f"-{each.fee}", "佣金": "-", "备注": "订单结算",
        })  # fmt: skip
    return found


def shopify(*movements: Money) -> list[Row]:
    found = []
    for each in movements:
        for kind, amount, fee in (
            ("charge", each.paid, each.fee), ("refund", f"-{each.refunded}", "0.00"),
        ):  # fmt: skip
            if number(amount):
                found.append({
                    "Transaction Date": f"{each.at} -0500", "Type": kind, "Order": each.order,
                    "Payout Status": "paid", "Amount": amount, "Fee": fee,
                    "Net": f"{number(amount) - number(fee):.2f}", "Checkout": f"#{each.id or 1}",
                    "Currency": "USD",
                })  # fmt: skip
    return found


def amazon(*movements: Money, currency: str = "USD", total: str = "") -> list[Row]:
    """A settlement with its summary, and a row for each amount."""
    found: list[Row] = []
    settlement = {"settlement-id": "21734059732"}
    for each in movements:
        base = settlement | {
            "order-id": each.order, "posted-date-time": f"{each.at} UTC",
            "order-item-code": each.id or "1", "marketplace-name": "Amazon.com",
        }  # fmt: skip
        for type_, kind, words, amount in (
            ("Order", "ItemPrice", "Principal", each.paid),
            ("Refund", "ItemPrice", "Principal", f"-{each.refunded}"),
            ("Order", "ItemFees", "Commission", f"-{each.fee}"),
        ):
            if number(amount):
                found.append(base | {
                    "transaction-type": type_, "amount-type": kind, "amount-description": words,
                    "amount": amount,
                })  # fmt: skip
    comes_to = total or f"{sum(number(row['amount']) for row in found):.2f}"
    return [
        settlement | {
            "settlement-start-date": "2026-11-10 00:00:00 UTC",
            "settlement-end-date": "2026-11-24 00:00:00 UTC",
            "deposit-date": "2026-11-26 00:00:00 UTC", "total-amount": comes_to,
            "currency": currency,
        },
        *found,
    ]  # fmt: skip


def number(said: str) -> Decimal:
    return Decimal(said.replace(",", ""))


def a_csv(columns: Sequence[str], body: Iterable[Row], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(body)
    return text.getvalue()


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file
