"""
What an operation is, who may do it, and the keys by which it is known who asks.

    operation.py    a table of them for each room, in its `pages.py`
    rights.py       roles and their rights
    keys.py         operators' keys
"""
