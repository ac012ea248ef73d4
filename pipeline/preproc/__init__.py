"""Raw BIDS -> preprocessed images and confounds, under fMRIPrep's names.

Pure functions on arrays; `person` reads, calls and writes. Registration is ANTs' (the extra
``preproc``); head motion, slice timing, the single interpolation and confounds are our own.
"""
