"""The annotation page: click on objects in a browser, see the mask, correct it, save it.

`python -m utils.annotate IMAGES` serves it, `python -m utils.annotate export DIR` writes what was annotated in the
formats of the field. From the inside out:

- document: what a picture's annotation is, and how each step changes it; no files, no network.
- masks: masks as PNG, as outlines and as what a hand draws.
- session, project: a picture's history as one JSON file; the folder of pictures and its labels.
- pictures, proposals, engine: reading pictures within limits, masks to start from, the click model.
- editor: carries out one change, saves it, and only then answers.
- server, security: the editor over HTTP; page/ is what the browser gets.
- export, load_test: what comes out, and how fast it answers.
"""
