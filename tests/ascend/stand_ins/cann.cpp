// Bodies for the few classes of CANN that MindSpore's Ascend plugin handles on the host: names, shapes and tensor
// descriptions that it builds while it selects kernels. Nothing is computed, so nothing here computes.
//
// The declarations are our own. Names and arguments are those of the symbols that the wheel leaves open
// (`nm -DC`); what is known of a layout is only that each class holds one shared pointer, after a table of virtual
// functions where there is one. What has no body here gets one from build.py that returns 0 or its own object.
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ge {

enum DataType : int {};
enum Format : int {};
enum Placement : int {};
using Text = std::string;
using Bytes = std::vector<uint8_t>;

struct AscendString {
  AscendString(const char *text = nullptr);
  const char *GetString() const;
  bool operator<(const AscendString &other) const;
  std::shared_ptr<Text> held;
};

struct Shape {
  Shape();
  explicit Shape(const std::vector<int64_t> &sizes);
  size_t GetDimNum() const;
  int64_t GetDim(size_t place) const;
  unsigned SetDim(size_t place, int64_t size);
  std::vector<int64_t> GetDims() const;
  int64_t GetShapeSize() const;
  std::shared_ptr<std::vector<int64_t>> held;
};

struct Description {
  Shape shape, first_shape;
  Format format{}, first_format{};
  DataType type{};
  Placement placement{};
};

struct TensorDesc {
  TensorDesc();
  TensorDesc(Shape shape, Format format, DataType type);
  TensorDesc(const TensorDesc &other);
  TensorDesc(TensorDesc &&other);
  Shape GetShape() const;
  void SetShape(const Shape &shape);
  Shape GetOriginShape() const;
  void SetOriginShape(const Shape &shape);
  Format GetFormat() const;
  void SetFormat(Format format);
  void SetOriginFormat(Format format);
  DataType GetDataType() const;
  void SetDataType(DataType type);
  Placement GetPlacement() const;
  void SetPlacement(Placement placement);
  std::shared_ptr<Description> held;
};

struct Content {
  TensorDesc description;
  Bytes bytes;
};

struct Tensor {
  Tensor();
  explicit Tensor(const TensorDesc &description);
  Tensor(const TensorDesc &description, const uint8_t *data, size_t size);
  TensorDesc GetTensorDesc() const;
  unsigned SetTensorDesc(const TensorDesc &description);
  uint8_t *GetData();
  size_t GetSize() const;
  unsigned SetData(const uint8_t *data, size_t size);
  std::shared_ptr<Content> held;
};

struct TensorType {
  explicit TensorType(const std::initializer_list<DataType> &types);
  std::shared_ptr<int> held;
};

struct Promote {
  explicit Promote(const std::initializer_list<const char *> &names);
  std::shared_ptr<int> held;
};

struct Naming {
  Text name, type;
};

struct Operator {
  explicit Operator(const Text &type);
  explicit Operator(const char *type);
  Operator(const Text &name, const Text &type);
  Operator(const char *name, const char *type);
  Operator(const AscendString &name, const AscendString &type);
  virtual ~Operator() = default;
  Text GetName() const;
  unsigned GetName(AscendString &name) const;
  Text GetOpType() const;
  unsigned GetOpType(AscendString &type) const;
  TensorDesc GetOutputDesc(const Text &name) const;
  TensorDesc GetOutputDesc(uint32_t place) const;
  std::shared_ptr<Naming> held;
};

struct OperatorFactory {
  static Operator CreateOperator(const Text &name, const Text &type);
  static Operator CreateOperator(const char *name, const char *type);
  static bool IsExistOp(const Text &type);
  static bool IsExistOp(const char *type);
};

struct GNode {
  std::pair<std::shared_ptr<GNode>, int32_t> GetInDataNodesAndPortIndexs(int32_t place) const;
  std::vector<std::shared_ptr<GNode>> GetInControlNodes() const;
  std::vector<std::pair<std::shared_ptr<GNode>, int32_t>> GetOutDataNodesAndPortIndexs(int32_t place) const;
  std::vector<std::shared_ptr<GNode>> GetOutControlNodes() const;
  std::shared_ptr<int> held;
};

struct Graph {
  explicit Graph(const Text &name);
  explicit Graph(const char *name);
  const Text &GetName() const;
  std::vector<GNode> GetDirectNode() const;
  std::shared_ptr<Text> held;
};

// The wheel's libraries put their error codes, with their words, into this table when they are loaded.
struct StatusFactory {
  static StatusFactory *Instance();
  std::map<uint32_t, Text> words;
};
StatusFactory *StatusFactory::Instance() {
  static StatusFactory only;
  return &only;
}

AscendString::AscendString(const char *text) : held(text ? std::make_shared<Text>(text) : nullptr) {}
const char *AscendString::GetString() const { return held ? held->c_str() : ""; }
bool AscendString::operator<(const AscendString &other) const { return Text(GetString()) < other.GetString(); }

Shape::Shape() : Shape(std::vector<int64_t>()) {}
Shape::Shape(const std::vector<int64_t> &sizes) : held(std::make_shared<std::vector<int64_t>>(sizes)) {}
size_t Shape::GetDimNum() const { return held->size(); }
int64_t Shape::GetDim(size_t place) const { return place < held->size() ? (*held)[place] : 0; }
unsigned Shape::SetDim(size_t place, int64_t size) {
  if (place < held->size()) (*held)[place] = size;
  return 0;
}
std::vector<int64_t> Shape::GetDims() const { return *held; }
int64_t Shape::GetShapeSize() const {
  int64_t product = 1;
  for (int64_t size : *held) product *= size;
  return product;
}

TensorDesc::TensorDesc() : held(std::make_shared<Description>()) {}
TensorDesc::TensorDesc(Shape shape, Format format, DataType type) : TensorDesc() {
  SetShape(shape);
  SetFormat(format);
  SetDataType(type);
}
// Both copy: what was moved from must stay usable, since the plugin's own destructor runs on it.
TensorDesc::TensorDesc(const TensorDesc &other) : held(std::make_shared<Description>(*other.held)) {}
TensorDesc::TensorDesc(TensorDesc &&other) : held(std::make_shared<Description>(*other.held)) {}
Shape TensorDesc::GetShape() const { return held->shape; }
void TensorDesc::SetShape(const Shape &shape) { held->shape = shape; }
Shape TensorDesc::GetOriginShape() const { return held->first_shape; }
void TensorDesc::SetOriginShape(const Shape &shape) { held->first_shape = shape; }
Format TensorDesc::GetFormat() const { return held->format; }
void TensorDesc::SetFormat(Format format) { held->format = format; }
void TensorDesc::SetOriginFormat(Format format) { held->first_format = format; }
DataType TensorDesc::GetDataType() const { return held->type; }
void TensorDesc::SetDataType(DataType type) { held->type = type; }
Placement TensorDesc::GetPlacement() const { return held->placement; }
void TensorDesc::SetPlacement(Placement placement) { held->placement = placement; }

Tensor::Tensor() : held(std::make_shared<Content>()) {}
Tensor::Tensor(const TensorDesc &description) : Tensor() { SetTensorDesc(description); }
Tensor::Tensor(const TensorDesc &description, const uint8_t *data, size_t size) : Tensor(description) {
  SetData(data, size);
}
TensorDesc Tensor::GetTensorDesc() const { return held->description; }
unsigned Tensor::SetTensorDesc(const TensorDesc &description) {
  *held->description.held = *description.held;
  return 0;
}
uint8_t *Tensor::GetData() { return held->bytes.data(); }
size_t Tensor::GetSize() const { return held->bytes.size(); }
unsigned Tensor::SetData(const uint8_t *data, size_t size) {
  held->bytes.assign(data, data + size);
  return 0;
}

TensorType::TensorType(const std::initializer_list<DataType> &) {}
Promote::Promote(const std::initializer_list<const char *> &) {}

Operator::Operator(const Text &type) : Operator(type, type) {}
Operator::Operator(const char *type) : Operator(Text(type), Text(type)) {}
Operator::Operator(const Text &name, const Text &type) : held(std::make_shared<Naming>(Naming{name, type})) {}
Operator::Operator(const char *name, const char *type) : Operator(Text(name), Text(type)) {}
Operator::Operator(const AscendString &name, const AscendString &type)
    : Operator(Text(name.GetString()), Text(type.GetString())) {}
Text Operator::GetName() const { return held ? held->name : ""; }
unsigned Operator::GetName(AscendString &name) const {
  name = AscendString(GetName().c_str());
  return 0;
}
Text Operator::GetOpType() const { return held ? held->type : ""; }
unsigned Operator::GetOpType(AscendString &type) const {
  type = AscendString(GetOpType().c_str());
  return 0;
}
TensorDesc Operator::GetOutputDesc(const Text &) const { return TensorDesc(); }
TensorDesc Operator::GetOutputDesc(uint32_t) const { return TensorDesc(); }

Operator OperatorFactory::CreateOperator(const Text &name, const Text &type) { return Operator(name, type); }
Operator OperatorFactory::CreateOperator(const char *name, const char *type) { return Operator(name, type); }
bool OperatorFactory::IsExistOp(const Text &) { return true; }
bool OperatorFactory::IsExistOp(const char *) { return true; }

std::pair<std::shared_ptr<GNode>, int32_t> GNode::GetInDataNodesAndPortIndexs(int32_t) const { return {nullptr, 0}; }
std::vector<std::shared_ptr<GNode>> GNode::GetInControlNodes() const { return {}; }
std::vector<std::pair<std::shared_ptr<GNode>, int32_t>> GNode::GetOutDataNodesAndPortIndexs(int32_t) const { return {}; }
std::vector<std::shared_ptr<GNode>> GNode::GetOutControlNodes() const { return {}; }

Graph::Graph(const Text &name) : held(std::make_shared<Text>(name)) {}
Graph::Graph(const char *name) : held(std::make_shared<Text>(name)) {}
const Text &Graph::GetName() const { return *held; }
std::vector<GNode> Graph::GetDirectNode() const { return {}; }

}  // namespace ge

// The chip that the plugin asks for: SSD_STAND_IN_SOC, else one of the 910B generation.
extern "C" const char *aclrtGetSocName() {
  const char *name = getenv("SSD_STAND_IN_SOC");
  return name ? name : "Ascend910B2";
}
