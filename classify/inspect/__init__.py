"""What a trained run does well and badly: classes, confusions, alpha, features (`python mmrl.py inspect`)."""
