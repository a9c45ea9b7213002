"""Imports by the names of mmaction2: modules that moved, and what this package leaves out.

Where a module of mmaction2 1.x is one of another name here, importing it gives that module, and
so the very classes. What is not here is one error that says why, or what takes its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

__all__ = ['find_mmaction2_names', 'refuse_names_of', 'why_left_out']

_MOVED = {
    'engine.hooks.visualization_hook': 'engine.hooks.visualization',
    'engine.optimizers.layer_decay_optim_wrapper_constructor': 'engine.optimizers.layer_decay',
    'evaluation.functional.accuracy': 'evaluation.functional',
    'models.backbones.c2d': 'models.backbones.resnet',
    'models.backbones.mobilenet_v2_tsm': 'models.backbones.mobilenet_v2',
    'models.backbones.resnet2plus1d': 'models.backbones.resnet3d',
    'models.backbones.resnet3d_csn': 'models.backbones.resnet3d',
    'models.backbones.resnet3d_slowonly': 'models.backbones.resnet3d_slowfast',
    'models.backbones.resnet_tin': 'models.backbones.resnet_tsm',
    'models.common.conv2plus1d': 'models.common.layers',
    'models.heads.mvit_head': 'models.heads.transformer_heads',
    'models.heads.slowfast_head': 'models.heads.cnn3d_heads',
    'models.heads.timesformer_head': 'models.heads.transformer_heads',
    'models.heads.tpn_head': 'models.heads.tsn_head',
    'models.heads.trn_head': 'models.heads.tsn_head',
    'models.heads.tsm_head': 'models.heads.tsn_head',
    'models.heads.uniformer_head': 'models.heads.transformer_heads',
    'models.heads.x3d_head': 'models.heads.cnn3d_heads',
    'models.losses.nll_loss': 'models.losses.cross_entropy_loss',
    'utils.gradcam_utils': 'visualization.grad_cam',
    'utils.progress': 'utils.misc',
    'visualization.action_visualizer': 'visualization.visualizer',
    'visualization.video_backend': 'visualization.visualizer',
}

_LEFT_OUT = {
    'detection of actions in space': (
        'AVADataset AVAKineticsDataset AVAMetric MultiSportsMetric SampleAVAFrames FastRCNN '
        'AVARoIHead BBoxHeadAVA SingleRoIExtractor3D MaxIoUAssignerAVA ACRNHead LFB FBOHead '
        'LFBInferHead SlowOnlyRoIHead ResNet3dLayer detection_inference bbox2result bbox_target '
        'ava_dataset ava_evaluation ava_metric ava_utils bbox multisports_metric '
        'multisports_utils roi_heads task_modules'
    ),
    'localization in time': (
        'BMN PEM TEM TCANet DRN ActivityNetDataset CharadesSTADataset ANetMetric RecallatTopK '
        'PackLocalizationInputs LoadLocalizationFeature GenerateLocalizationLabels LoadProposals '
        'BinaryLogisticRegressionLoss BMNLoss SSNLoss OHEMHingeLoss activitynet_dataset '
        'anet_metric binary_logistic_regression_loss bmn_loss charades_sta_dataset '
        'eval_detection localizers ohem_hinge_loss ssn_loss video_grounding_metric'
    ),
    'skeletons': (
        'RecognizerGCN MMRecognizer3D AAGCN STGCN GCNHead RGBPoseConv3D RGBPoseHead PoseDataset '
        'FormatGCNInput DecompressPose GeneratePoseTarget PoseCompact PreNormalize3D '
        'PreNormalize2D JointToBone ToMotion MergeSkeFeat GenSkeFeat UniformSampleFrames PadTo '
        'PoseDecode MMUniformSampleFrames MMDecode MMCompact MultiModalDataPreprocessor '
        'inference_skeleton pose_inference aagcn gcn_head gcn_utils graph '
        'multimodal_data_preprocessor pose_dataset pose_transforms recognizer3d_mm '
        'recognizer_gcn rgbpose_head rgbposeconv3d stgcn'
    ),
    'audio': (
        'RecognizerAudio ResNetAudio TSNAudioHead ConvAudio AudioDataset FormatAudioShape '
        'LoadAudioFeature AudioFeatureSelector audio_dataset conv_audio recognizer_audio '
        'resnet_audio tsn_audio_head'
    ),
    'video and text (retrieval, question answering)': (
        'CLIPSimilarity SimpleMeanAdapter TransformerAdapter MSRVTTVQA MSRVTTVQAMC '
        'MSRVTTRetrieval VideoTextDataset CLIPTokenize VQAAcc ReportVQA VQAMCACC RetrievalRecall '
        'RetrievalMetric RetrievalValLoop RetrievalTestLoop VindLURetrieval VindLURetrievalMC '
        'VindLUVQA BeitModel3D BertDecoder XBertForMaskedLM XBertModel msrvtt_datasets '
        'multimodal multimodal_metric retrieval_loop retrieval_metric similarity '
        'text_transforms video_text_dataset'
    ),
    'training on images and videos in turns': (
        'RecognizerOmni OmniResNet OmniHead omni_head recognizer_omni resnet_omni'
    ),
    "mmpretrain's MobileOne": 'MobileOneTSM mobileone_tsm',
    'motion vectors of compressed videos': 'PyAVDecodeMotionVector',
    'multigrid training': 'SubBatchNorm3D sub_batchnorm3d',
}
_SUBJECTS = {name: subject for subject, names in _LEFT_OUT.items() for name in names.split()}

_INSTEAD = {
    'blocks of ResNets are Block of mmaction.models.backbones.resnet, with other arguments': (
        'BasicBlock Bottleneck BasicBlock3d Bottleneck3d CSNBottleneck3d'
    ),
    'registries are in mmaction.registry: DATASETS, TRANSFORMS for PIPELINES, and MODELS for all '
    'parts of models': 'builder BACKBONES HEADS LOSSES NECKS PIPELINES RECOGNIZERS',
    'transforms are in mmaction.datasets.transforms': 'pipelines',
    'its parts are in mmaction.engine and mmaction.evaluation': 'core',
    'MMLogger.get_current_instance() of mmengine.logging gives the log': 'get_root_logger',
}
_ADVICE = {name: advice for advice, names in _INSTEAD.items() for name in names.split()}


def why_left_out(name: str) -> str | None:
    """Why a part of mmaction2 is not here, in one sentence, where that is on purpose.

    Args:
        name: Its name, dotted or not.
    """
    subject = _SUBJECTS.get(name.rpartition('.')[2])
    if subject is None:
        return None
    return (
        f'"{name}" is mmaction2\'s, for {subject}, which this package leaves out: it recognizes '
        'actions in videos (docs/migration.md says what else is not here)'
    )


def _refuse(name: str) -> None:
    """Tell an import of what mmaction2 has and this package has not.

    Args:
        name: The dotted name of a module, or of what was to be imported from it.

    Raises:
        ImportError: It is one of mmaction2's names that are not here.
    """
    reason = why_left_out(name)
    advice = _ADVICE.get(name.rpartition('.')[2])
    if reason is None and advice is not None:
        reason = f'"{name}" is mmaction2\'s and not here: {advice}'
    if reason is not None:
        raise ImportError(reason, name=name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = name.partition('.')
        if package != 'mmaction':
            return None
        if rest in _MOVED:
            return ModuleSpec(name, self)
        # `from mmaction.PACKAGE import NAME` comes here as well, where the package lacks the name.
        _refuse(name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        # The module of the new name, no copy: `isinstance` holds whichever name is imported.
        sys.modules[name] = import_module(f'mmaction.{_MOVED[name.removeprefix("mmaction.")]}')


def refuse_names_of(module: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module from which users of mmaction2 import what is not here."""

    def missing(name: str) -> NoReturn:
        _refuse(f'{module}.{name}')
        raise AttributeError(f'module {module!r} has no attribute {name!r}')

    return missing


def find_mmaction2_names() -> None:
    """Have imports know the names of mmaction2; those that are here are found without it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
