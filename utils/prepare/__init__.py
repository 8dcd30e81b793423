"""Brings data into shape: fetches published sets, converts any annotated pictures to COCO_LVIS, inspects, selects.

`python -m utils.prepare --help` lists the commands.
"""
