"""Preprocess raw BIDS images into images and confounds under fMRIPrep's names.

The modules contain functions on arrays; `derivatives` reads their input and writes their output,
and `participant` runs the steps. Registration is done by ANTs (the extra ``preproc``). Head motion,
slice timing, the single interpolation and confounds are implemented here.
"""
