"""The field's annotation formats, read: ground of the commands that convert them and of the page that takes them in.

Each file is a format. Its plan_... function finds what is annotated and gives a Plan (picture.py): a light task for
each picture, and a Reader that makes a Picture of one, a photo with named regions.
"""
