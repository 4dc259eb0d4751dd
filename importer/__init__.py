"""From robot datasets to judgments in the database: everything between the data and the people who compare them.

`simulate` > `studio` > `calibration` > `pairs` > `clips` > `pool`; each imports only those after it.
"""
