import { backendFeatureNames, featureNames } from '../abi/feature-names.js';
import { VHOST_MAX_MEM_REGIONS, VHOST_NET_VQ_RX } from '../abi/vhost-net.js';
import type { Kernel } from '../kernel/kernel.js';
import { refusable, whereKnown } from './optional-requests.js';

/** The parameter of the module vhost that bounds a memory table. */
export const MAX_MEM_REGIONS = '/sys/module/vhost/parameters/max_mem_regions';
const ZEROCOPY = '/sys/module/vhost_net/parameters/experimental_zcopytx';

/** Words of VHOST_GET_FEATURES_ARRAY. Asked for more, Linux 6.17 blanks those that it has. */
export const FEATURE_WORDS = 2;
/** Words that can be asked for at once. */
export const MAX_FEATURE_WORDS = 64;

/** What this kernel's vhost-net can do. */
export interface VhostCapabilities {
  /** The device that was asked. */
  readonly path: string;
  /** Feature bits offered: those of VHOST_GET_FEATURES and, above bit 63, of VHOST_GET_FEATURES_ARRAY. */
  readonly features: bigint;
  /** Their names in the kernel, lowest bit first. */
  readonly featureNames: readonly string[];
  /** VHOST_GET_FEATURES_ARRAY and VHOST_SET_FEATURES_ARRAY are known: features above bit 63 can be agreed. */
  readonly featuresArray: boolean;
  /** VHOST_GET_BACKEND_FEATURES: VHOST_BACKEND_F_* bits offered, 0 where the kernel lacks the request. */
  readonly backendFeatures: bigint;
  readonly backendFeatureNames: readonly string[];
  /**
   * VHOST_GET_FORK_FROM_OWNER of a new device: 1 its worker will be a task of the owner, 0 a kernel thread;
   * `undefined` where the kernel leaves no choice.
   */
  readonly forkFromOwner: number | undefined;
  /** VHOST_SET_VRING_BUSYLOOP_TIMEOUT is known. */
  readonly busyPolling: boolean;
  /** VHOST_NEW_WORKER and its like are known for this device; no net device has them yet. */
  readonly workers: boolean;
  /** VHOST_SET_VRING_ENDIAN is known. */
  readonly vringEndian: boolean;
  /** Regions that a memory table may have. */
  readonly maxMemRegions: number;
  /** Transmitted frames may complete late: the parameter experimental_zcopytx. `undefined` where it does not show. */
  readonly zeroCopy: boolean | undefined;
}

/** Asks a device that nobody owns yet, and closes it. */
export function capabilitiesOf(kernel: Kernel, path: string): VhostCapabilities {
  const { vhost, descriptor } = kernel;
  const fd = refusable(() => vhost.open(path));
  try {
    const first = refusable(() => vhost.getFeatures(fd));
    const words = whereKnown(() => vhost.getFeaturesArray(fd, FEATURE_WORDS));
    const features = words?.reduce((all, word, i) => all | (word << BigInt(64 * i)), first) ?? first;
    const backendFeatures = whereKnown(() => vhost.getBackendFeatures(fd)) ?? 0n;
    const forkFromOwner = whereKnown(() => vhost.getForkFromOwner(fd));
    // The rest is answered to an owner only.
    refusable(() => vhost.setOwner(fd));
    const known = (request: () => unknown): boolean => whereKnown(() => [request()]) !== undefined;
    return {
      path,
      features,
      featureNames: featureNames(features),
      featuresArray: words !== undefined,
      backendFeatures,
      backendFeatureNames: backendFeatureNames(backendFeatures),
      forkFromOwner,
      busyPolling: known(() => vhost.getVringBusyloopTimeout(fd, VHOST_NET_VQ_RX)),
      workers: known(() => vhost.getVringWorker(fd, VHOST_NET_VQ_RX)),
      vringEndian: known(() => vhost.getVringEndian(fd, VHOST_NET_VQ_RX)),
      maxMemRegions: maxMemRegions(kernel) ?? VHOST_MAX_MEM_REGIONS,
      zeroCopy: zeroCopy(kernel),
    };
  } finally {
    descriptor.close(fd);
  }
}

/** How many regions a memory table may have: the module's parameter; `undefined` where that does not show. */
export function maxMemRegions({ files }: Kernel): number | undefined {
  const value = Number(files.read(MAX_MEM_REGIONS)?.trim());
  return Number.isInteger(value) && value > 0 ? value : undefined;
}

function zeroCopy({ files }: Kernel): boolean | undefined {
  const value = files.read(ZEROCOPY)?.trim();
  return value === undefined ? undefined : value !== '0' && value !== 'N';
}
