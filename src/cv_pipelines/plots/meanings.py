"""What scores and contract keys mean, in one sentence each, for the tables of the reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Meaning:
    """What a score says, and whether more of it is better."""

    text: str
    better: Literal["higher", "lower", ""] = "higher"


_UNKNOWN = Meaning("", "")

_SCORES = {
    "accuracy": Meaning("share of the samples whose most probable class is the true one"),
    "top5_accuracy": Meaning("share of the samples whose true class is among the five most probable ones"),
    "macro_f1": Meaning("F1 (harmonic mean of precision and recall), each class counted alike"),
    "nll": Meaning("mean negative log-likelihood of the true class, in nats", "lower"),
    "ece": Meaning(
        "expected calibration error: how far confidence and accuracy lie apart, on average", "lower"
    ),
    "worst_subject_accuracy": Meaning("accuracy on the one person the model does worst on"),
    "map": Meaning(
        "average precision, mean over the classes (boxes, masks and keypoints: and over COCO's overlaps)"
    ),
    "map_50": Meaning("average precision where an overlap (IoU) of 0.5 counts as found"),
    "map_75": Meaning("average precision where an overlap (IoU) of 0.75 counts as found"),
    "map_small": Meaning("average precision on objects below 32² pixels"),
    "map_medium": Meaning("average precision on objects of 32² to 96² pixels"),
    "map_large": Meaning("average precision on objects above 96² pixels"),
    "ar": Meaning("average recall: share of the true objects that are found, mean over overlaps"),
    "ar_1": Meaning("average recall with one detection an image"),
    "ar_10": Meaning("average recall with ten detections an image"),
    "ar_100": Meaning("average recall with a hundred detections an image"),
    "ar_small": Meaning("average recall on objects below 32² pixels"),
    "ar_medium": Meaning("average recall on objects of 32² to 96² pixels"),
    "ar_large": Meaning("average recall on objects above 96² pixels"),
    "ar_50": Meaning("recall where an overlap of 0.5 counts as found"),
    "ar_75": Meaning("recall where an overlap of 0.75 counts as found"),
    "area_precision": Meaning("share of the area of predicted boxes that lies in true boxes of the class"),
    "area_recall": Meaning("share of the area of true boxes that predicted boxes of the class cover"),
    "area_iou": Meaning("area shared by predicted and true boxes of a class, by the area of either"),
    "voc07_map": Meaning("PASCAL VOC 2007 average precision (11 recall points), mean over the classes"),
    "voc_map": Meaning(
        "PASCAL VOC average precision since 2010 (area under the curve), mean over the classes"
    ),
    "mean_error": Meaning("mean distance of points from where they are, in % of the image's side", "lower"),
    "pck_10": Meaning("share of the points within a tenth of the object's longer side"),
    "pck_20": Meaning("share of the points within a fifth of the object's longer side"),
    "presence_accuracy": Meaning("share of the images with the right answer to whether there is an object"),
    "miou": Meaning("intersection over union of true and predicted pixels, mean over the classes"),
    "pixel_accuracy": Meaning("share of the pixels with the right class"),
    "mean_accuracy": Meaning("share of a class's pixels that are found, mean over the classes"),
    "mse": Meaning("mean squared error of a pixel value on a scale of 0 to 1", "lower"),
    "psnr": Meaning("peak signal-to-noise ratio, in dB"),
    "ssim": Meaning("structural similarity, 1 for equal images"),
    "precision": Meaning("share of the generated images that look like real ones"),
    "recall": Meaning("share of the real images that the generator could have made"),
    "loss": Meaning("the loss that training minimises", "lower"),
}

_FAMILIES = {
    "iou/": Meaning("intersection over union of the class"),
    "fid_": Meaning("Fréchet distance between generated and real images in this embedding", "lower"),
    "kid_": Meaning("kernel distance between generated and real images in this embedding", "lower"),
}

_CONTRACT = {
    "source": "the data set",
    "split": "the part of it that was scored; training never saw it, unless it is train",
    "n": "how many samples were scored",
    "protocol": "the rules by which the score is computed",
    "flip": "whether predictions are averaged with those of the mirrored image",
    "scales": "the image sizes that predictions are averaged over",
    "fuse_iou": "the overlap above which boxes found in the image and in its mirror image are one",
    "shared_with_other_splits": "groups or contents that other splits have too",
    "classes": "what could be predicted, in index order",
    "backend": "the code that computed the score",
    "image_size": "the size in pixels that the model saw",
    "difficult": "what happened to objects marked as difficult",
    "masks": "the images on which masks were scored: those whose objects all have masks",
    "score_threshold": "the score from which a box counts in the area figures",
    "keypoint_sigma": "how far people's marks of a keypoint differ, as a share of the object's scale",
    "image_side": "what distances are shares of",
    "object": "which one counts of several objects in an image",
    "pck": "what the distances that count as found are shares of",
    "embedder": "the network in whose features images are compared",
}


def score_meaning(name: str) -> Meaning:
    """Return what a score says; without text and direction for an unknown name."""
    for prefix, what in (("mask_", "masks"), ("keypoint_", "keypoints")):
        if name.startswith(prefix):
            inner = score_meaning(name.removeprefix(prefix))
            return Meaning(f"{what}: {inner.text}", inner.better) if inner.text else _UNKNOWN
    family = next((meaning for prefix, meaning in _FAMILIES.items() if name.startswith(prefix)), _UNKNOWN)
    return _SCORES.get(name, family)


def contract_meaning(key: str) -> str:
    """Return what a key of a contract says, "" for an unknown one."""
    return _CONTRACT.get(key, "")
