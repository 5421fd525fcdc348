"""
Figures: what orders come to, by day, shop and region; kept, asked for, and said once a day.

docs/figures.md defines every figure; what is counted, when and where is one view
(`figured_orders`), which the lists behind the figures read as well.

* `clocks`: whose day it is
* `restating`: counts anew what was touched, and compares what is kept with the orders
* `asking`: what pages and reports ask
* `upkeep`: restates again and again, beside the console
* `reports`: the daily report and its versions
"""
