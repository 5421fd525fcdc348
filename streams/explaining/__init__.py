"""
Why something is as it is: the story of an order, and of a SKU's balance.

    order.py    from the first raw message to the last row
    stock.py    a SKU's moves, each with what it came of
"""
