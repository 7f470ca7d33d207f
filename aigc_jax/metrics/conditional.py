"""Are images of the classes they were made for? A classifier learns from one set, judges another.

The classification accuracy score trains on generated images and tests on real ones (Ravuri and
Vinyals, arXiv 1905.10887), which needs quality and diversity; its reverse trains on real images and
tests on generated ones, which needs quality alone. Shmelkov et al. call them GAN-train and GAN-test
(arXiv 1807.09499). Both are read beside the score of real images in place of the generated ones.
"""

import numpy as np

from aigc_jax.metrics import classifier

STEPS = 1500


def accuracy_score(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> float:
    """The accuracy on one set of a classifier that was trained on another, from 0 to 1.

    Args:
      train_images: what it learns from, uint8 or f32 in [-1, 1], [N, H, W, C].
      train_labels: their classes, integers [N]; of generated images those that were asked for.
      test_images: what it is tested on, [M, H, W, C].
      test_labels: their classes [M].
      num_classes: the labels are from 0 to num_classes - 1.
      steps: of Adam, on batches of 128.
      seed: of the classifier's parameters and batches.

    Raises:
      ValueError: images and labels do not fit together, or one of the sets has another shape.
    """
    if np.shape(train_images)[1:] != np.shape(test_images)[1:]:
        raise ValueError(
            f"training images {np.shape(train_images)}, test images {np.shape(test_images)}: must "
            "have the same height, width and channels"
        )
    model = classifier.Classifier(num_classes)
    classifier.check(model, test_images, test_labels)
    params = classifier.fit(model, train_images, train_labels, steps=steps, seed=seed)
    return classifier.accuracy(model, params, test_images, test_labels)
