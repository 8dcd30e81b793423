"""The annotation page: show the model an object in a browser, see the mask, correct it, save it.

`python -m utils.annotate IMAGES` serves it, `python -m utils.annotate export DIR` writes what was annotated in the
formats of the field. From the inside out:

- document, operations: what a picture's annotation is; the one table of what can be done to it. No files, no network.
- changes, completions, prompts: how a change is read, which masks come out of it, what the model is given for it.
- masks, mask_store: masks as PNG, as outlines and as what is drawn by hand; a picture's masks on the disk.
- session, project: a picture's history as one JSON file; the folder of pictures and its labels.
- pictures, proposals, engine: reading pictures within limits, masks to start from, the click model.
- assist/: a concept model that learns from the finished pictures and proposes masks for the next ones.
- open_picture, editor: carry out one change, save it, and only then answer.
- server, security, patience: the editor over HTTP; page/ is what the browser gets.
- formats/, export, export_job, import_objects, import_job: what comes out and what comes in; statistics: how the work
  goes.
"""
