# ViT-B of VideoMAE V2 on Kinetics-400, distilled from ViT-g: the network of VideoMAE with other
# weights. Its published accuracy is in ../metafile.yml.
_base_ = '../videomae/vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400.py'

name = 'vit-base-p16_videomaev2-vit-g-dist-k710-pre_16x4x1_kinetics-400'
load_from = f'{_base_.zoo}/videomaev2/{name}/{name}_20230510-3e7f93b2.pth'
