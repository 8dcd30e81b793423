"""Drawing."""
import cv2
import numpy as np


def draw_probmap(x):
    return cv2.applyColorMap((x * 255).astype(np.uint8), cv2.COLORMAP_HOT)


def draw_with_blend_and_clicks(img, mask=None, alpha=0.6, clicks_list=None, pos_color=(0, 255, 0),
                               neg_color=(255, 0, 0), radius=4):
    result = img.copy()
    if mask is not None:
        result[mask > 0] = (128, 0, 0)
    for click in clicks_list or ():
        y, x, _ = click.coords_and_indx
        cv2.circle(result, (int(x), int(y)), radius, pos_color if click.is_positive else neg_color, -1)
    return result
