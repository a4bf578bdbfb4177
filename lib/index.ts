export { type AdoptOptions, adoptDescriptor } from './backend/adopt.js';
export type { Backend, BackendInterface, BackendKind, LinkState, Offload } from './backend/backend.js';
export { type CableOptions, openCable } from './backend/cable.js';
export { type MacvtapOptions, openMacvtap } from './backend/macvtap.js';
export { type BackendOptions, openBackend } from './backend/open.js';
export { openPacketSocket, type PacketSocketOptions } from './backend/packet-socket.js';
export { type FrameProgram, ProgramBackend, type ProgramOptions, programBackend } from './backend/program.js';
export { type RemoteOptions, remoteBackend } from './backend/remote.js';
export { openTap, type TapOptions } from './backend/tap.js';
export type { ReadyOptions } from './completion/calls.js';
export { DirtyLog, type PageRange } from './completion/dirty-log.js';
export { Ledger } from './completion/ledger.js';
export { FrameStatus, Submission, type SubmissionResult } from './completion/submission.js';
export type { WaitOptions } from './completion/waiters.js';
export { VhostError, type VhostErrorCode, type VhostErrorLike } from './errors/errors.js';
export { hostKernel } from './kernel/host.js';
export type { Kernel, MemoryTableEntry, VringAddresses } from './kernel/kernel.js';
export { AddressMap, type MappedStretch } from './memory/address-map.js';
export { FramePool } from './memory/frame-pool.js';
export { GuestMemory, type RegionOptions } from './memory/guest-memory.js';
export { Region } from './memory/region.js';
export { type FrameStreamEnd, type FrameStreamOptions, frameStream } from './net/frame-stream.js';
export { HandOver, type HandOverState, type PassOptions, type TakeOptions } from './net/hand-over.js';
export { checkHeader, type GsoType, HEADER_SIZE, type NetHeader } from './net/header.js';
export { type Loss, Nic, type NicStats, type ResumeOptions } from './net/nic.js';
export type { NicOptions } from './net/nic-open.js';
export { NicPair } from './net/nic-pair.js';
export type { ProxyLine, ProxyProgram, ProxyProgramFactory } from './net/proxy-program.js';
export type { DeviceKind } from './net/queue-pair.js';
export type { LatencyStats, PairStats, QueueStats } from './net/queue-stats.js';
export { ReceiveBatch } from './net/receive-batch.js';
export { ReceiveQueue } from './net/receive-queue.js';
export type { ReceiveOptions } from './net/receiver.js';
export type { Reclaimed, ReclaimOptions } from './net/reclaim.js';
export type { InFlight, ReportedFrame, Resumed } from './net/resumed.js';
export type { SendOptions } from './net/sender.js';
export type { Starvation } from './net/starvation.js';
export { TransmitQueue } from './net/transmit-queue.js';
export type { VhostCapabilities } from './vhost/capabilities.js';
export { Iommu, type IommuMapping, type IommuOptions } from './vhost/iommu.js';
export { Iotlb, type Translation, type Translator } from './vhost/iotlb.js';
export type { IotlbAccess, IotlbMiss, IotlbRequest, IotlbUpdate } from './vhost/iotlb-message.js';
export { KernelVhost, type KernelVhostOptions } from './vhost/kernel-vhost.js';
export type { KernelWorker } from './vhost/kernel-worker.js';
export { VhostUserClient, type VhostUserClientOptions } from './vhost/user/client.js';
export type { DevicePair, VhostUserDevice } from './vhost/user/device.js';
export {
  VhostUserServer,
  type VhostUserServerEvents,
  type VhostUserServerOptions,
} from './vhost/user/server.js';
export { VhostUserSession } from './vhost/user/session.js';
export type { LogFile, Vhost } from './vhost/vhost.js';
export type { QueueFault, WorkerQueueStats } from './vhost/worker/running-queue.js';
export { WorkerVhost, type WorkerVhostOptions } from './vhost/worker/worker-vhost.js';
export {
  BAD_CHAIN,
  DeviceRing,
  type DeviceRingOptions,
  NO_CHAIN,
  type RingFault,
} from './vring/device-ring.js';
export { DriverRing, type DriverRingOptions, type RingAddresses } from './vring/driver-ring.js';
export { splitRingLayout } from './vring/layout.js';
export { RingJournal } from './vring/ring-journal.js';
