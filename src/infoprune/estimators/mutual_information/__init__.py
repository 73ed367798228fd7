"""Mutual information between feature patches and clustered task outputs, by binning.

The estimator of the feature selection paper (section 3.1, after Saxe et al. 2018): cut each feature map into
patches, each number of a patch into one of `bins` levels, call the whole patch a *pattern*, cluster the
spatially corresponding output patches, and take the mutual information of the joint counts of patterns and
clusters.

Where it fails, and what to use then. With wide patches nearly every pattern is unique; the estimate is then
H(Y) for every feature, whatever the feature knows, and permuted labels score the same. `MutualInformation`
says so (`saturated`) and carries the exact mean over all permutations (`null`), so that `excess` is what the
labels add. When that is saturated too, look at less of each patch: `project(x, principal_axes(x))` keeps the
two directions in which patches vary most. That is still a lower bound on the information, its patterns
repeat, and so its bias is small. A classifier or a neural bound would be tighter, and would need training, a
held-out set and a seed for every feature.

Everything is in nats; `bits()` converts.
"""

from infoprune.estimators.mutual_information.bins import principal_axes as principal_axes
from infoprune.estimators.mutual_information.bins import project as project
from infoprune.estimators.mutual_information.bins import quantile_codes as quantile_codes
from infoprune.estimators.mutual_information.bins import uniform_codes as uniform_codes
from infoprune.estimators.mutual_information.bins import value_range as value_range
from infoprune.estimators.mutual_information.counts import JointCounts as JointCounts
from infoprune.estimators.mutual_information.estimates import binned as binned
from infoprune.estimators.mutual_information.estimates import estimate as estimate
from infoprune.estimators.mutual_information.places import cluster_centres as cluster_centres
from infoprune.estimators.mutual_information.places import cluster_outputs as cluster_outputs
from infoprune.estimators.mutual_information.places import corresponding_patches as corresponding_patches
from infoprune.estimators.mutual_information.places import nearest_centre as nearest_centre
from infoprune.estimators.mutual_information.places import patches as patches
from infoprune.estimators.mutual_information.plug_in import MutualInformation as MutualInformation
from infoprune.estimators.mutual_information.plug_in import bits as bits
