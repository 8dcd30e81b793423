"""The robot user, with numpy's numbers in its clicks, as the grading system's has them."""
import cv2
import numpy as np


class Click:
    def __init__(self, is_positive, coords, indx=None):
        self.is_positive = is_positive
        self.coords = coords
        self.indx = indx

    @property
    def coords_and_indx(self):
        return (*self.coords, self.indx)


class Clicker:
    def __init__(self, gt_mask=None, init_clicks=None, ignore_label=-1, click_indx_offset=0):
        self.gt_mask = gt_mask == 1
        self.clicks_list = []
        self.not_clicked_map = np.ones_like(self.gt_mask)

    def get_clicks(self, clicks_limit=None):
        return self.clicks_list[:clicks_limit]

    def make_next_click(self, pred_mask):
        pred = np.asarray(pred_mask) != 0
        distances = []
        for error in (self.gt_mask & ~pred, ~self.gt_mask & pred):
            distance = cv2.distanceTransform(np.pad(error.astype(np.uint8), 1), cv2.DIST_L2, 0)[1:-1, 1:-1]
            distances.append(distance * self.not_clicked_map)
        is_positive = distances[0].max() > distances[1].max()
        distance = distances[0 if is_positive else 1]
        rows, columns = np.where(distance == distance.max())
        self.not_clicked_map[rows[0], columns[0]] = False
        self.clicks_list.append(Click(is_positive, (rows[0], columns[0]), len(self.clicks_list)))
