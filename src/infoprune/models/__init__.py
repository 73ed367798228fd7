"""The networks of the papers that no host library has, each a function filed by name."""

from infoprune.models.base import models as models
from infoprune.models.base import shape_for as shape_for
from infoprune.models.cifar_resnet import resnet20_cifar as resnet20_cifar
from infoprune.models.cifar_resnet import resnet56_cifar as resnet56_cifar
from infoprune.models.cifar_resnet import resnet110_cifar as resnet110_cifar
from infoprune.models.cifar_resnet import resnet164_cifar as resnet164_cifar
from infoprune.models.densenet import densenet40_cifar as densenet40_cifar
from infoprune.models.densenet import densenet100_cifar as densenet100_cifar
from infoprune.models.lv_vit import LVViT as LVViT
from infoprune.models.lv_vit import lv_vit_medium as lv_vit_medium
from infoprune.models.lv_vit import lv_vit_small as lv_vit_small
from infoprune.models.lv_vit import lv_vit_tiny as lv_vit_tiny
from infoprune.models.mobilenet import mobilenet_v1 as mobilenet_v1
from infoprune.models.own import own_network as own_network
from infoprune.models.three_task import ThreeTaskNet as ThreeTaskNet
from infoprune.models.three_task import small_three_task as small_three_task
from infoprune.models.three_task import three_task as three_task
from infoprune.models.vgg import vgg16_bn_cifar as vgg16_bn_cifar
from infoprune.models.yolact import Yolact as Yolact
from infoprune.models.yolact import yolact_resnet18_fpn as yolact_resnet18_fpn
from infoprune.models.yolact import yolact_resnet50_fpn as yolact_resnet50_fpn
from infoprune.models.yolov3 import YOLOv3 as YOLOv3
from infoprune.models.yolov3 import yolov3 as yolov3
from infoprune.models.yolov3 import yolov3_tiny as yolov3_tiny
