"""
SKU mappings: kept in PostgreSQL with their history, published on `reference`, and waited for.

    orderflow sku map …  ->  sku_mappings  ->  reference  ->  intake
                                   |
                          orders that wait: their last word is read once more

`table` changes them, `publishing` tells intake, `waking` looks for orders that waited.
"""
