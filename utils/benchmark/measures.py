"""What the measures of a report mean, for its readers."""
MEASURES = {
    "IoU@k": "Mean intersection over union after k clicks; @0 is the initial mask. Two empty masks have an IoU of 1.",
    "NoC@t": "Mean number of clicks until the IoU is at least t % (Xu et al. 2016), a cap for tasks that never get "
    "there: 20 as in RITM (Sofiiuk et al. 2021), and 100 as in f-BRS (2020). SAIC-IS calls it NoI.",
    "NoF@t": "Number of failures: tasks that do not reach t % within the cap. (RITM's code prints the tasks that take "
    "the cap's number of clicks, those that get there with the last one among them.)",
    "BIoU": "Boundary IoU (Cheng et al. 2021): IoU of the masks' inner bands, 2 % of the image's diagonal wide.",
    "NoI": "NoC's count, on Boundary IoU.",
    "Hurtful clicks": "The part of all clicks after which the IoU is lower by more than 5 points than before; the "
    "largest drop is the most that one click took away.",
    "Combinations": "SAIC-IS's protocol: every combination of the kinds of interactions over the first three steps, "
    "then clicks; means over steps and combinations, +- the standard deviation of the combinations' means. There NoI "
    "is the number of interactions until the IoU is reached.",
    "Area under curve": "Area under the IoU over clicks by trapezia, divided by its width.",
    "Intervals": "95 %, percentile bootstrap with 2,000 draws of whole sequences or images; differences are taken task "
    "by task first.",
    "Exact user": "Clicks at the first maximum of the exact distance transform of the larger error (false negatives "
    "against false positives), as RITM and the course's grader do.",
    "Ignored pixels": "Belong to neither mask, in clicks and in scores.",
    "Perturbed initial masks": "The truth after a seeded erosion, dilation or loss of a part, with an IoU of 75 to "
    "85 %, as FocalClick's DAVIS-585 (Chen et al. 2022) has it; the first click corrects it, and NoC counts it even if "
    "the mask had the IoU before.",
}
