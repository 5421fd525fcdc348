"""
Clients of the platforms' order APIs: one module a platform, as data and pure functions.

`calls` has the words, `parts` cuts answers without changing an order's bytes, `pacing` decides when
a call may be made and when it is made again, and `caller` is the only one that does I/O.

A new platform is a module, a line in `CLIENTS`, a simulator under tests/platforms, and its vectors
in tests/rules/test_clients.py.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from streams.clients import (
    amazon,
    douyin,
    jd,
    kuaishou,
    pdd,
    shopee,
    shopify,
    taobao,
    tiktokshop,
    woocommerce,
    xiaohongshu,
)
from streams.clients.calls import Client

CLIENTS: Final[Mapping[str, Client]] = MappingProxyType({
    client.platform: client
    for client in (
        taobao.client("taobao"),
        taobao.client("tmall"),
        jd.CLIENT,
        pdd.CLIENT,
        douyin.CLIENT,
        kuaishou.CLIENT,
        xiaohongshu.CLIENT,
        shopify.CLIENT,
        amazon.CLIENT,
        woocommerce.CLIENT,
        tiktokshop.CLIENT,
        shopee.CLIENT,
    )
})  # fmt: skip
